"""Owns what waits to be logged of searches and questions: memory first, written in batches by one thread.

Whoever is answered does not wait for it: a record costs a search some microseconds. So records of the last second or
so are lost when the process is killed; one that ends writes them first.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Lock, Thread
from typing import Any

from sqlalchemy import CursorResult, delete, insert, select, tuple_

from database.engine import Database
from domain import Partition
from errors import ServiceError
from models import IngestUsage, LoggedQuery, QueryCitation, utc_now
from services.index.counting import day_of
from services.search.question import Answer, Question
from text.hashing import doc_hash
from times import shifted

log = logging.getLogger(__name__)

SEARCH, ASK = "search", "ask"
FLUSH_SECONDS = 1.0
MOST_ROWS_WAITING = 100_000
ROWS_PER_WRITE = 5_000
PRUNED_AT_ONCE, MOST_PRUNINGS = 1_000, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRecord:
    """One search or question. *citations* are ranks, chunks' numbers and scores."""

    query_id: str
    kind: str
    place: Partition
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
    """Made by running(); add() is safe from any thread and from the event loop, and never waits."""

    def __init__(self, database: Database, *, is_on: bool, keeps_text: bool) -> None:
        self.database = database
        self.is_on = is_on
        self.keeps_text = keeps_text
        self.dropped = 0
        self._waiting: deque[QueryRecord] = deque()
        self._rows = 0
        self._adding, self._writing = Lock(), Lock()
        self._has_some, self._is_stopping = Event(), Event()
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
            query_log._has_some.set()
            thread.join()

    def add(self, record: QueryRecord) -> None:
        """Take it for the next batch; drop and count it where too much waits already."""
        if not self.is_on:
            return
        with self._adding:
            if self._rows + record.rows > MOST_ROWS_WAITING:
                self.dropped += 1
                return
            self._rows += record.rows
            self._waiting.append(record)
        self._has_some.set()

    def searched(self, question: Question, answer: Answer, *, latency_ms: int, api_key_id: str | None = None) -> None:
        """Add a search. One of a namespace that does not exist has no place to be logged at."""
        if answer.partition is None or not self.is_on:
            return
        self.add(
            QueryRecord(
                query_id=str(uuid.uuid4()),
                kind=SEARCH,
                place=answer.partition,
                question="\n".join(question.texts),
                top_k=question.top_k,
                latency_ms=latency_ms,
                api_key_id=api_key_id,
                citations=[(rank, each.faiss_id, each.score) for rank, each in enumerate(answer.passages, 1)],
            )
        )

    def flush(self) -> None:
        """Write all that waits. Raises ServiceError where the database cannot take it now; then it goes on waiting."""
        with self._writing:
            while batch := self._take():
                self._write(batch)

    def prune(self, keep_days: float) -> int:
        """Forget what is older, and the usage of those days; a very long log by and by. Returns how many records."""
        before = day_of(shifted(utc_now(), days=-keep_days))
        with self.database.write() as session:
            session.execute(delete(IngestUsage).where(IngestUsage.day < before))
        pruned = 0
        for _ in range(MOST_PRUNINGS):
            count = self._prune_some(before)
            pruned += count
            if count < PRUNED_AT_ONCE:
                break
        return pruned

    def _prune_some(self, before: str) -> int:
        """Not all in one transaction: on SQLite others wait for it."""
        key = LoggedQuery.team_id, LoggedQuery.query_id
        old = select(*key).where(LoggedQuery.day < before).limit(PRUNED_AT_ONCE)
        unseen: dict[str, Any] = {"synchronize_session": False}
        with self.database.write() as session:
            done = session.execute(delete(LoggedQuery).where(tuple_(*key).in_(old)), execution_options=unseen)
        assert isinstance(done, CursorResult)
        return done.rowcount

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            self._has_some.wait()
            self._is_stopping.wait(FLUSH_SECONDS)
            self._has_some.clear()
            self._flush_quietly()
        self._flush_quietly()
        if self._waiting:
            log.error("%d records of the query log are lost", len(self._waiting))

    def _flush_quietly(self) -> None:
        try:
            self.flush()
            self._is_failing = False
        except ServiceError as error:
            self._has_some.set()
            if not self._is_failing:
                log.error("the query log waits: %s", error)
            self._is_failing = True

    def _take(self) -> list[QueryRecord]:
        """The oldest that make up one transaction."""
        batch: list[QueryRecord] = []
        with self._adding:
            rows = 0
            while self._waiting and (not batch or rows + self._waiting[0].rows <= ROWS_PER_WRITE):
                batch.append(self._waiting.popleft())
                rows += batch[-1].rows
            self._rows -= rows
        return batch

    def _put_back(self, batch: Sequence[QueryRecord]) -> None:
        with self._adding:
            self._waiting.extendleft(reversed(batch))
            self._rows += sum(record.rows for record in batch)

    def _write(self, batch: Sequence[QueryRecord]) -> None:
        """What the database refuses for good costs one record, not those beside it."""
        try:
            self._insert(batch)
        except ServiceError:
            self._put_back(batch)
            raise
        except Exception:
            if len(batch) > 1:
                self._put_back(batch[len(batch) // 2 :])
                self._write(batch[: len(batch) // 2])
                return
            log.exception("a record of the query log cannot be written")
            self.dropped += 1

    def _insert(self, batch: Sequence[QueryRecord]) -> None:
        self.database.refuse_when_nearly_full()
        queries = [self._query_row(record) for record in batch]
        citations = [row for record in batch for row in _citation_rows(record)]
        with self.database.write() as session:
            session.execute(insert(LoggedQuery), queries)
            if citations:
                session.execute(insert(QueryCitation), citations)

    def _query_row(self, record: QueryRecord) -> dict[str, Any]:
        return {
            "team_id": record.place.team_id,
            "project_id": record.place.project_id,
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


def _citation_rows(record: QueryRecord) -> list[dict[str, Any]]:
    key = {"team_id": record.place.team_id, "query_id": record.query_id}
    return [{**key, "rank": rank, "faiss_id": chunk, "score": score} for rank, chunk, score in record.citations]
