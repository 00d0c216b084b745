"""SQL that differs between SQLite and Postgres."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Float, LargeBinary
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement, GenericFunction


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


class chained_hash(FunctionElement[bytes]):
    """chain_hash() of two columns or parameters, by the database."""

    type = LargeBinary()
    inherit_cache = True


@compiles(chained_hash)
def _chained_hash(element: chained_hash, compiler: Any, **options: Any) -> str:
    previous, digest = (compiler.process(each, **options) for each in element.clauses)
    return f"sha256({previous} || {digest})"


@compiles(chained_hash, "sqlite")
def _chained_hash_sqlite(element: chained_hash, compiler: Any, **options: Any) -> str:
    return f"chain_hash({compiler.process(element.clauses, **options)})"


def chain_hash(previous: bytes, digest: bytes) -> bytes:
    """The hash of a row of a chain: over that of the row before it and what it says itself. SQLite calls it too."""
    return hashlib.sha256(previous + digest).digest()


def insert_or_ignore(session: Session, table: type[Any]) -> Any:
    """INSERT ... ON CONFLICT DO NOTHING, in the session's dialect."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    return (sqlite.insert if is_sqlite else postgresql.insert)(table).on_conflict_do_nothing()
