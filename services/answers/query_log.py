"""Logs searches and questions: buffered in memory, written in batches by one thread.

Requests never wait for the log: a record costs a search a few microseconds. A process that is killed loses the records
of the last second or so; one that stops writes them first.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Lock, Thread
from typing import Any

from sqlalchemy import CursorResult, delete, select, tuple_
from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database
from database.prepared import PreparedStatement, inserted
from domain import Json, Partition
from errors import ServiceError
from metrics import LOGS_DROPPED
from models import Chunk, IngestUsage, LoggedQuery, Project, QueryCitation, utc_now
from services.index.counting import day_of
from services.search.question import Answer, Question
from text.hashing import doc_hash
from times import shifted

log = logging.getLogger(__name__)

SEARCH, ASK = "search", "ask"
FLUSH_SECONDS = 1.0
MAX_ROWS_WAITING = 100_000
ROWS_PER_WRITE = 5_000
CHUNKS_PER_QUERY = 500
PRUNED_PER_BATCH, MAX_PRUNE_BATCHES = 1_000, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRecord:
    """A search or a question. *citations* are (rank, faiss_id, score)."""

    query_id: str
    kind: str
    partition: Partition
    question: str
    top_k: int
    latency_ms: int
    used_rag: bool = False
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None
    api_key_id: str | None = None
    citations: Sequence[tuple[int, int, float]] = ()
    created_at: datetime = field(default_factory=utc_now)

    @property
    def rows(self) -> int:
        return 1 + len(self.citations)


class QueryLog:
    """Opened by running(). add() is thread-safe and never blocks, so the event loop may call it."""

    def __init__(self, database: Database, *, is_on: bool, keeps_text: bool) -> None:
        self.database = database
        self.is_on = is_on
        self.keeps_text = keeps_text
        self.dropped = 0
        self._waiting: deque[QueryRecord] = deque()
        self._rows = 0
        self._adding, self._writing = Lock(), Lock()
        self._has_records, self._is_stopping = Event(), Event()
        self._is_failing = False

    @classmethod
    @contextmanager
    def running(cls, database: Database, *, is_on: bool, keeps_text: bool) -> Iterator[QueryLog]:
        query_log = cls(database, is_on=is_on, keeps_text=keeps_text)
        thread = Thread(target=query_log._run, name="query-log", daemon=True)
        thread.start()
        try:
            yield query_log
        finally:
            query_log._is_stopping.set()
            query_log._has_records.set()
            thread.join()

    def add(self, record: QueryRecord) -> None:
        """Queue the record for the next batch; drop and count it if the queue is full."""
        if not self.is_on:
            return
        with self._adding:
            if self._rows + record.rows > MAX_ROWS_WAITING:
                self._count_dropped()
                return
            self._rows += record.rows
            self._waiting.append(record)
        self._has_records.set()

    def _count_dropped(self) -> None:
        self.dropped += 1
        LOGS_DROPPED.labels("queries").inc()

    def add_search(self, question: Question, answer: Answer, *, latency_ms: int, api_key_id: str | None = None) -> None:
        """Log a search. A search of a missing namespace is not logged: it has no partition."""
        if answer.partition is None or not self.is_on:
            return
        self.add(
            QueryRecord(
                query_id=str(uuid.UUID(int=random.getrandbits(128), version=4)),
                kind=SEARCH,
                partition=answer.partition,
                question="\n".join(question.texts),
                top_k=question.top_k,
                latency_ms=latency_ms,
                api_key_id=api_key_id,
                citations=[(rank, passage.faiss_id, passage.score) for rank, passage in enumerate(answer.passages, 1)],
            )
        )

    def flush(self) -> None:
        """Write all queued records. Raises ServiceError if the database cannot store them now; they stay queued."""
        with self._writing:
            while batch := self._next_batch():
                self._write(batch)

    def prune(self, keep_days: float) -> int:
        """Delete older records and usage, at most a limited number per call. Returns how many records were deleted."""
        before = day_of(shifted(utc_now(), days=-keep_days))
        with self.database.write() as session:
            session.execute(delete(IngestUsage).where(IngestUsage.day < before))
        pruned = 0
        for _ in range(MAX_PRUNE_BATCHES):
            count = self._prune_batch(before)
            pruned += count
            if count < PRUNED_PER_BATCH:
                break
        return pruned

    def _prune_batch(self, before: str) -> int:
        """A small transaction, since on SQLite other writers wait for it."""
        key = LoggedQuery.team_id, LoggedQuery.query_id
        old = select(*key).where(LoggedQuery.day < before).limit(PRUNED_PER_BATCH)
        options: dict[str, Any] = {"synchronize_session": False}
        with self.database.write() as session:
            result = session.execute(delete(LoggedQuery).where(tuple_(*key).in_(old)), execution_options=options)
        assert isinstance(result, CursorResult)
        return result.rowcount

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            self._has_records.wait()
            self._is_stopping.wait(FLUSH_SECONDS)
            self._has_records.clear()
            self._flush_quietly()
        self._flush_quietly()
        if self._waiting:
            log.error("%d records of the query log are lost", len(self._waiting))

    def _flush_quietly(self) -> None:
        try:
            self.flush()
            self._is_failing = False
        except ServiceError as error:
            self._has_records.set()
            if not self._is_failing:
                log.error("the query log waits: %s", error)
            self._is_failing = True

    def _next_batch(self) -> list[QueryRecord]:
        """Dequeues the oldest records, up to ROWS_PER_WRITE rows."""
        batch: list[QueryRecord] = []
        with self._adding:
            rows = 0
            while self._waiting and (not batch or rows + self._waiting[0].rows <= ROWS_PER_WRITE):
                batch.append(self._waiting.popleft())
                rows += batch[-1].rows
            self._rows -= rows
        return batch

    def _requeue(self, batch: Sequence[QueryRecord]) -> None:
        with self._adding:
            self._waiting.extendleft(reversed(batch))
            self._rows += sum(record.rows for record in batch)

    def _write(self, batch: Sequence[QueryRecord]) -> None:
        """Writes the batch, halving it on errors, so that a record that the database refuses is lost alone."""
        try:
            self._insert(batch)
        except ServiceError:
            self._requeue(batch)
            raise
        except Exception:
            if len(batch) > 1:
                self._requeue(batch[len(batch) // 2 :])
                self._write(batch[: len(batch) // 2])
                return
            log.exception("a record of the query log cannot be written")
            self._count_dropped()

    def _insert(self, batch: Sequence[QueryRecord]) -> None:
        self.database.refuse_when_nearly_full()
        with self.database.write() as session:
            batch = _of_existing_places(session, batch)
            queries = [self._query_row(record) for record in batch]
            citations = _without_erased(session, batch, queries)
            _LOG_QUERIES.run_many(session, queries)
            _LOG_CITATIONS.run_many(session, citations)

    def _query_row(self, record: QueryRecord) -> dict[str, Any]:
        return {
            "team_id": record.partition.team_id,
            "project_id": record.partition.project_id,
            "query_id": record.query_id,
            "api_key_id": record.api_key_id,
            "kind": record.kind,
            "question_hash": doc_hash(record.question),
            "question": record.question if self.keeps_text else None,
            "used_rag": record.used_rag,
            "top_k": record.top_k,
            "model": record.model,
            "latency_ms": record.latency_ms,
            "prompt_tokens": record.prompt_tokens,
            "completion_tokens": record.completion_tokens,
            "error": record.error,
            "day": day_of(record.created_at),
            "created_at": record.created_at,
        }


def _of_existing_places(session: Session, batch: Sequence[QueryRecord]) -> list[QueryRecord]:
    """Without those of namespaces that were erased meanwhile, and of mirrors that were deleted."""
    places = {(record.partition.team_id, record.partition.project_id) for record in batch}
    key = (Project.team_id, Project.id)
    erased = select(*key).where(tuple_(*key).in_(places), Project.erased_at.is_not(None))
    gone = {tuple(row) for row in session.execute(erased)}
    return [each for each in batch if (each.partition.team_id, each.partition.project_id) not in gone]


def _without_erased(session: Session, batch: Sequence[QueryRecord], queries: list[dict[str, Any]]) -> list[Json]:
    """The citations of chunks that still exist. A question about one that was erased meanwhile loses its text.

    Locks the chunks' rows, so that whoever erases them finds what is logged of them.
    """
    cited: dict[tuple[int, int], set[int]] = defaultdict(set)
    for record in batch:
        cited[record.partition.team_id, record.partition.project_id].update(chunk for _, chunk, _ in record.citations)
    kept = {place: _existing(session, place, sorted(ids)) for place, ids in cited.items()}
    citations: list[Json] = []
    for record, query in zip(batch, queries, strict=True):
        existing = kept[record.partition.team_id, record.partition.project_id]
        rows = _citation_rows(record)
        citations += (still_there := [row for row in rows if row["faiss_id"] in existing])
        if len(still_there) < len(rows):
            query |= {"question": None, "question_hash": ""}
    return citations


def _existing(session: Session, place: tuple[int, int], ids: Sequence[int]) -> set[int]:
    existing: set[int] = set()
    for part in batched(ids, CHUNKS_PER_QUERY):
        of_place = (Chunk.team_id == place[0], Chunk.project_id == place[1], Chunk.faiss_id.in_(part))
        query = select(Chunk.faiss_id).where(*of_place).order_by(Chunk.faiss_id)
        existing.update(session.scalars(query.with_for_update(read=True, key_share=True)))
    return existing


_LOG_QUERIES, _LOG_CITATIONS = PreparedStatement(inserted(LoggedQuery)), PreparedStatement(inserted(QueryCitation))


def _citation_rows(record: QueryRecord) -> list[dict[str, Any]]:
    key = {"team_id": record.partition.team_id, "query_id": record.query_id}
    return [{**key, "rank": rank, "faiss_id": chunk, "score": score} for rank, chunk, score in record.citations]
