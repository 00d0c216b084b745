"""What a driver says, in words that an operator can act on; and whether what it broke off may be tried again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, InternalError, OperationalError, SQLAlchemyError

from errors import DatabaseUnavailable, Interrupted, ServiceError, StorageFull, Unstorable

DriverError = SQLAlchemyError
"""What reaches whoever uses the database where problem_of() has no words for it."""


def problem_of(error: DBAPIError, *, is_sqlite: bool) -> ServiceError | None:
    """None where it is a bug of ours."""
    if isinstance(error, DataError) or (getattr(error.orig, "sqlstate", None) or "").startswith(_PAST_LIMITS):
        return unstorable(str(error.orig))
    return _sqlite_problem(error) if is_sqlite else _postgres_problem(error)


def unstorable(reason: str) -> Unstorable:
    """A value that the database refuses is refused the next time too."""
    return Unstorable(reason.partition("CONTEXT:")[0].strip())


@contextmanager
def nothing_kept() -> Iterator[None]:
    """A connection that breaks before the commit takes its whole transaction with it."""
    try:
        yield
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Interrupted("The connection to Postgres broke; nothing was changed: try again.") from error
        raise


def _sqlite_problem(error: DBAPIError) -> ServiceError | None:
    told = str(error.orig).lower()
    if "disk is full" in told:
        return StorageFull("The disk is full: free some space. Nothing of this request was kept.")
    for sign, advice in _SQLITE_ADVICE.items():
        if sign in told:
            return DatabaseUnavailable(f"{advice} ({error.orig})")
    return None


def _postgres_problem(error: DBAPIError) -> ServiceError | None:
    told, state = str(error.orig).lower(), getattr(error.orig, "sqlstate", None) or ""
    if state in _UNDONE:
        return Interrupted(f"Postgres undid the transaction ({_UNDONE[state]}); nothing was changed: try again.")
    if state == _DISK_FULL:
        return StorageFull(
            "The disk of the Postgres server is full: free some space. Nothing of this request was kept."
        )
    if error.connection_invalidated:
        return DatabaseUnavailable(
            "The connection to Postgres broke in the last moment: whether the change was kept is not known. Look, or "
            "send the same again."
        )
    if state in _POSTGRES_STATES:
        return DatabaseUnavailable(_POSTGRES_STATES[state])
    is_ours = not isinstance(error, OperationalError | InternalError)
    return None if is_ours else DatabaseUnavailable(_postgres_advice(told, state))


def _postgres_advice(told: str, state: str) -> str:
    for sign, advice in _POSTGRES_ADVICE.items():
        if sign in told:
            return advice
    if state:
        return f"Postgres could not do that (its code is {state}): its log has the reason."
    return "Postgres does not answer: see that it runs and that DATABASE_URL names its host and port."


_SQLITE_ADVICE = {
    "readonly": "The database file cannot be written: check its owner and mode, and those of its folder.",
    "unable to open": "The database file cannot be opened: check DATABASE_URL and the rights on its folder.",
    "not a database": "The file that DATABASE_URL names is not a SQLite database: name another one.",
    "malformed": "The database file is damaged: stop the service and restore it from a backup.",
    "disk i/o error": "The disk failed on the database file: restart once it is well again.",
    "locked": "Another program holds the database file: close it (a sqlite3 shell, a backup) and try again.",
}

_UNDONE = {"40001": "it met another one's changes", "40P01": "it and another one waited for each other"}
_DISK_FULL = "53100"
_PAST_LIMITS = "54"

_POSTGRES_STATES = {
    "25006": "This Postgres is a replica or is set read-only: DATABASE_URL must name the primary.",
    "42501": "Postgres does not let this user do that: grant it the right, or run manage.py migrate as one that may.",
    "55P03": "Another transaction held a lock for longer than DATABASE_LOCK_TIMEOUT_SECONDS: try again.",
    "57014": "A statement took longer than DATABASE_STATEMENT_TIMEOUT_SECONDS: try again, or set it higher.",
}

# Who is refused at the door gets no code, only words.
_POSTGRES_ADVICE = {
    "password authentication failed": "Postgres refuses the user or the password in DATABASE_URL.",
    "no password supplied": "Postgres wants a password: put it into DATABASE_URL or PGPASSWORD.",
    "no pg_hba.conf entry": "Postgres lets nobody in from here as this user: see its pg_hba.conf, or sslmode.",
    "does not exist": "Postgres has no such database or user: make it first, or correct DATABASE_URL.",
    "too many": "Postgres has no connection left: raise max_connections, or lower DATABASE_POOL_SIZE.",
    "connection slots": "Postgres has no connection left: raise max_connections, or lower DATABASE_POOL_SIZE.",
    "database system is": "Postgres is starting or stopping: it answers again in a moment.",
}
