"""HNSW indexes on the table of vectors: one per embedding version, over the rows of all tenants.

Workers create them concurrently, outside any transaction. An interrupted creation leaves an invalid index; the next
one drops it first.
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

MAX_DIMENSIONS = 2000
MAX_HALF_DIMENSIONS = 4000
LINKS = 16
BUILD_DEPTH = 128
GRAPHS_LOCK = 0x0AD1A9A4
LOCK_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Graph:
    """*type* is the type that vectors are cast to: pgvector indexes up to 2000 dimensions, 4000 in half precision."""

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

    def exists(self, session: Session | Connection) -> bool:
        return _is_valid(session, self.name) is True


def graph_of(version: str, dimension: int, *, prefers_half: bool = False) -> Graph | None:
    """The graph of a version; None beyond pgvector's dimensions: search is exact then."""
    if dimension > MAX_HALF_DIMENSIONS:
        return None
    is_half = prefers_half or dimension > MAX_DIMENSIONS
    vector_type = f"{'halfvec' if is_half else 'vector'}({dimension})"
    digest = hashlib.sha256(f"{version}\x00{vector_type}".encode()).hexdigest()
    return Graph(f"hnsw__{digest[:24]}", version, vector_type, is_half)


def ensure_graph(database: Database, graph: Graph, *, check: Callable[[], None]) -> None:
    """Create the graph if it does not exist. Takes minutes for millions of rows, without blocking reads or writes."""
    with database.engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        if graph.exists(connection):
            return
        with _exclusive(database, check):
            is_valid = _is_valid(connection, graph.name)
            if is_valid is False:
                connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {graph.name}"))
            if not is_valid:
                connection.execute(text(_create_statement(graph)))


def drop(database: Database, version: str, dimension: int) -> None:
    """Remove the graphs of a version that is no longer used."""
    graphs = {graph_of(version, dimension, prefers_half=is_half) for is_half in (False, True)}
    with database.engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        for graph in filter(None, graphs):
            connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {graph.name}"))


def _create_statement(graph: Graph) -> str:
    operators = "halfvec_cosine_ops" if graph.is_half else "vector_cosine_ops"
    return (
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {graph.name} ON vectors USING hnsw ({graph.expression} {operators}) "
        rf"WITH (m = {LINKS}, ef_construction = {BUILD_DEPTH}) WHERE {graph.condition}"
    ).replace("::", r"\:\:")


@contextmanager
def _exclusive(database: Database, check: Callable[[], None]) -> Iterator[None]:
    """One creation at a time. The lock belongs to an idle transaction, which survives a connection pooler.

    It is polled: waiting inside Postgres would hold a snapshot, and the creation waits for all snapshots.
    """
    with database.engine.connect() as connection:
        while True:
            with connection.begin():
                if connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": GRAPHS_LOCK}):
                    connection.begin_nested()  # ends the previous statement, whose snapshot would stay open
                    yield
                    return
            check()
            time.sleep(LOCK_POLL_SECONDS)


def _is_valid(session: Session | Connection, name: str) -> bool | None:
    query = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    is_valid: bool | None = session.scalar(query, {"name": name})
    return is_valid


def _quoted(value: str) -> str:
    """An SQL literal, as the condition of an index takes no parameters. Only letters and digits stay unescaped."""
    escaped = (char if char.isascii() and char.isalnum() else rf"\+{ord(char):06x}" for char in value)
    return f"U&'{''.join(escaped)}'"
