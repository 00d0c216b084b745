"""The HNSW indexes of the table of vectors: one for each embedding version, over all tenants' rows of it.

They are made by workers, outside of any transaction, without locking anybody out. A creation that was cut off
leaves an invalid index under the name; the next one drops it first.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from database.engine import Database

MOST_DIMENSIONS = 2000
MOST_HALF_DIMENSIONS = 4000
LINKS = 16
BUILD_DEPTH = 128
GRAPHS_LOCK = 0x0AD1A9A4
LOCK_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Graph:
    """*type* is what vectors are cast to: pgvector's graphs hold 2000 dimensions, 4000 of half precision."""

    name: str
    version: str
    type: str
    is_half: bool

    @property
    def expression(self) -> str:
        return f"(embedding::{self.type})"

    @property
    def condition(self) -> str:
        return f"embedding_version = {_quoted(self.version)}"

    def is_there(self, session: Session | Connection) -> bool:
        return _is_valid(session, self.name) is True


def graph_of(version: str, dimension: int, *, prefers_half: bool = False) -> Graph | None:
    """The graph of a version; none where pgvector has no graph for so many dimensions: search is exact then."""
    if dimension > MOST_HALF_DIMENSIONS:
        return None
    is_half = prefers_half or dimension > MOST_DIMENSIONS
    kind = f"{'halfvec' if is_half else 'vector'}({dimension})"
    digest = hashlib.sha256(f"{version}\x00{kind}".encode()).hexdigest()
    return Graph(f"hnsw__{digest[:24]}", version, kind, is_half)


def ensure(database: Database, graph: Graph, *, check: Callable[[], None]) -> None:
    """Make the graph if it is not there. It takes minutes for millions of rows; others read and write meanwhile."""
    with database.engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        if graph.is_there(connection):
            return
        with _alone(database, check):
            found = _is_valid(connection, graph.name)
            if found is False:
                connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {graph.name}"))
            if not found:
                connection.execute(text(_creation(graph)))


def drop(database: Database, version: str, dimension: int) -> None:
    """Remove whatever graph there is of a version that nobody uses any more."""
    graphs = {graph_of(version, dimension, prefers_half=is_half) for is_half in (False, True)}
    with database.engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        for graph in filter(None, graphs):
            connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {graph.name}"))


def _creation(graph: Graph) -> str:
    operators = "halfvec_cosine_ops" if graph.is_half else "vector_cosine_ops"
    return (
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {graph.name} ON vectors USING hnsw ({graph.expression} {operators}) "
        rf"WITH (m = {LINKS}, ef_construction = {BUILD_DEPTH}) WHERE {graph.condition}"
    ).replace("::", r"\:\:")


@contextmanager
def _alone(database: Database, check: Callable[[], None]) -> Iterator[None]:
    """One creation at a time. The lock is an idle transaction's, which a pooler in between leaves in peace.

    Polled for: one that waited inside of Postgres would hold a snapshot, which the creation waits for.
    """
    with database.engine.connect() as connection:
        while True:
            with connection.begin():
                if connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": GRAPHS_LOCK}):
                    connection.begin_nested()  # ends the statement before it, whose snapshot would stay open
                    yield
                    return
            check()
            time.sleep(LOCK_POLL_SECONDS)


def _is_valid(session: Session | Connection, name: str) -> bool | None:
    query = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    found: bool | None = session.scalar(query, {"name": name})
    return found


def _quoted(value: str) -> str:
    """A literal of SQL for a partial index, where no parameter can stand. Nothing but letters and digits is left."""
    escaped = (each if each.isascii() and each.isalnum() else rf"\+{ord(each):06x}" for each in value)
    return f"U&'{''.join(escaped)}'"
