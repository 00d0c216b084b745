"""URLs of the databases that a restore writes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from database.engine import Database
from errors import DatabaseUnavailable, Invalid


def sqlite_url(file: Path) -> str:
    return URL.create("sqlite", database=str(file)).render_as_string()


def sqlite_file(url: str) -> Path | None:
    """The file that the URL names; None for another kind of database. Raises Invalid."""
    parsed = _parsed(url)
    return Path(parsed.database or "").absolute() if parsed.get_backend_name() == "sqlite" else None


@contextmanager
def temporary_postgres(url: str) -> Iterator[str]:
    """The URL of a new, empty database on the same server. Raises Invalid and DatabaseUnavailable."""
    server = _parsed(url)
    if server.get_backend_name() != "postgresql":
        raise Invalid("This backup is one of Postgres: to verify it, DATABASE_URL must name a Postgres server.")
    name = f"adf_verify_{secrets.token_hex(6)}"
    with Database.open(url) as database:
        try:
            _run(database, f'CREATE DATABASE "{name}"')
        except DBAPIError as error:
            reason = str(error.orig).partition("\n")[0]
            raise DatabaseUnavailable(
                f"A temporary database cannot be created ({reason}): let the user of DATABASE_URL create databases, or "
                "restore into an empty database with manage.py restore --to."
            ) from error
        try:
            yield server.set(database=name).render_as_string(hide_password=False)
        finally:
            _run(database, f'DROP DATABASE "{name}" WITH (FORCE)')


def _run(database: Database, statement: str) -> None:
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(statement))


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        raise Invalid("This is not a database URL: write sqlite:///./ai3_rag.db or postgresql://host/name.") from error
