"""SQL that differs between SQLite and Postgres."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import GenericFunction


class epoch_now(GenericFunction[float]):
    """Seconds since 1970 by the database's clock, which all workers share."""

    type = Float()
    inherit_cache = True


@compiles(epoch_now)
def _epoch_now(element: epoch_now, compiler: Any, **_: Any) -> str:  # noqa: ARG001
    return "extract(epoch from statement_timestamp())"


@compiles(epoch_now, "sqlite")
def _epoch_now_sqlite(element: epoch_now, compiler: Any, **_: Any) -> str:  # noqa: ARG001
    return "((julianday('now') - 2440587.5) * 86400.0)"


def insert_or_ignore(session: Session, table: type[Any]) -> Any:
    """INSERT ... ON CONFLICT DO NOTHING, in the session's dialect."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    return (sqlite.insert if is_sqlite else postgresql.insert)(table).on_conflict_do_nothing()
