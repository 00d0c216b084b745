"""Translates driver errors into messages that an operator can act on, and decides which may be retried."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, InternalError, OperationalError, SQLAlchemyError

from errors import DatabaseUnavailable, Interrupted, ServiceError, StorageFull, Unstorable

DriverError = SQLAlchemyError
"""What reaches whoever uses the database where problem_of() has no words for it."""


def problem_of(error: DBAPIError, *, is_sqlite: bool) -> ServiceError | None:
    """None if the error is a bug of the service."""
    if isinstance(error, DataError) or (getattr(error.orig, "sqlstate", None) or "").startswith(_LIMIT_EXCEEDED):
        return unstorable(str(error.orig))
    return _sqlite_problem(error) if is_sqlite else _postgres_problem(error)


def unstorable(reason: str) -> Unstorable:
    """A value that the database refuses; retrying does not help."""
    return Unstorable(reason.partition("CONTEXT:")[0].strip())


@contextmanager
def raising_interrupted() -> Iterator[None]:
    """Raises Interrupted for a connection that breaks before the commit, which undoes the whole transaction."""
    try:
        yield
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Interrupted("The connection to Postgres broke; nothing was changed: try again.") from error
        raise


def _sqlite_problem(error: DBAPIError) -> ServiceError | None:
    message = str(error.orig).lower()
    if "disk is full" in message:
        return StorageFull("The disk is full: free some space. Nothing of this request was kept.")
    for pattern, advice in _SQLITE_ADVICE.items():
        if pattern in message:
            return DatabaseUnavailable(f"{advice} ({error.orig})")
    return None


def _postgres_problem(error: DBAPIError) -> ServiceError | None:
    message, state = str(error.orig).lower(), getattr(error.orig, "sqlstate", None) or ""
    if state in _ROLLED_BACK:
        return Interrupted(f"Postgres undid the transaction ({_ROLLED_BACK[state]}); nothing was changed: try again.")
    if state == _DISK_FULL:
        return StorageFull(
            "The disk of the Postgres server is full: free some space. Nothing of this request was kept."
        )
    if error.connection_invalidated:
        return DatabaseUnavailable(
            "The connection to Postgres broke during the commit: whether the change was kept is unknown. Check, or "
            "send the same request again."
        )
    if state in _POSTGRES_STATES:
        return DatabaseUnavailable(_POSTGRES_STATES[state])
    is_ours = not isinstance(error, OperationalError | InternalError)
    return None if is_ours else DatabaseUnavailable(_postgres_advice(message, state))


def _postgres_advice(message: str, state: str) -> str:
    for pattern, advice in _POSTGRES_ADVICE.items():
        if pattern in message:
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

_ROLLED_BACK = {"40001": "a conflict with another transaction", "40P01": "a deadlock with another transaction"}
_DISK_FULL = "53100"
_LIMIT_EXCEEDED = "54"

_POSTGRES_STATES = {
    "25006": "This Postgres is a replica or is set read-only: DATABASE_URL must name the primary.",
    "42501": "Postgres denies this user that right: grant it, or run manage.py migrate as a user who has it.",
    "55P03": "Another transaction held a lock for longer than DATABASE_LOCK_TIMEOUT_SECONDS: try again.",
    "57014": "A statement took longer than DATABASE_STATEMENT_TIMEOUT_SECONDS: try again, or set it higher.",
}

# Errors while connecting have no code, only a message.
_POSTGRES_ADVICE = {
    "password authentication failed": "Postgres refuses the user or the password in DATABASE_URL.",
    "no password supplied": "Postgres requires a password: put it into DATABASE_URL or PGPASSWORD.",
    "no pg_hba.conf entry": "Postgres accepts no connection from here as this user: see its pg_hba.conf, or sslmode.",
    "does not exist": "Postgres has no such database or user: create it first, or correct DATABASE_URL.",
    "too many": "Postgres has no connection left: raise max_connections, or lower DATABASE_POOL_SIZE.",
    "connection slots": "Postgres has no connection left: raise max_connections, or lower DATABASE_POOL_SIZE.",
    "database system is": "Postgres is starting or stopping: it answers again in a moment.",
}
