"""Find passages. The index proposes, the database has the last word on what exists."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, bindparam, select
from sqlalchemy.orm import Session

from database import Database
from domain import Hit
from engines.vectors.base import VectorStore
from engines.vectors.truth import Snapshot, is_live, snapshot
from errors import Conflict, NotFound, ServiceError
from models import Chunk, IndexRow, Json, Revision
from services.embedding import EmbeddingService
from services.namespaces import missing
from services.publishing import Publisher

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    tenant_id: str
    namespace: str
    query: str
    top_k: int
    embedding_version: str | None = None

    @property
    def place(self) -> tuple[str, str]:
        return self.tenant_id, self.namespace


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk as it is shown to whoever asked. *score* is cosine similarity: higher is nearer, 1.0 is the same."""

    doc_id: str
    chunk_id: str
    text: str
    score: float
    metadata: Json
    title: str | None
    section: str | None
    page_start: int | None
    page_end: int | None
    char_start: int
    char_end: int
    token_count: int
    revision: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The passages of one snapshot, nearest first. *seq* is the snapshot's; *timings* are milliseconds."""

    passages: list[Passage]
    seq: int | None = None
    embedding_version: str | None = None
    is_exact: bool = True
    hint: str | None = None
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchService:
    database: Database
    embedding: EmbeddingService
    vectors: VectorStore
    publisher: Publisher

    def search(self, question: Question) -> Answer:
        [answer] = self.search_many([question])
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    def search_many(self, questions: Sequence[Question]) -> list[Answer | ServiceError]:
        """One answer, or the error, per question, in order. Questions of one namespace share the work."""
        answers: dict[int, Answer | ServiceError] = {}
        by_place: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, question in enumerate(questions):
            by_place[question.place].append(number)
        for place, numbers in by_place.items():
            asked = [questions[number] for number in numbers]
            try:
                answers.update(zip(numbers, self._search_namespace(*place, asked), strict=True))
            except ServiceError as error:
                answers.update(dict.fromkeys(numbers, error))
        return [answers[number] for number in range(len(questions))]

    def _search_namespace(self, tenant_id: str, namespace: str, asked: list[Question]) -> list[Answer]:
        with self.database.read() as session:
            seen = snapshot(session, tenant_id, namespace)
        if seen is None:
            return [Answer([], hint=missing(tenant_id, namespace)) for _ in asked]
        while True:
            version = seen.key.embedding_version
            _check_version(asked, version)
            started = time.perf_counter()
            vectors = self.embedding.embedder(version).embed_queries([question.query for question in asked])
            embedded = time.perf_counter()
            with self.vectors.opened(seen.key, seen.index.dimension) as opened, self.database.read() as session:
                current = snapshot(session, tenant_id, namespace)
                if current is None:
                    raise NotFound(missing(tenant_id, namespace))
                if current.key != seen.key:  # the namespace moved to another version in between
                    seen = current
                    continue
                problem = opened.catch_up(session, current)
                caught_up = time.perf_counter()
                found = opened.search(session, current, vectors, k=max(question.top_k for question in asked))
                searched = time.perf_counter()
                passages = _fetch(session, current, found.hits)
            if problem is not None:
                self._report(current, problem)
            timings = {
                "embed_ms": 1000 * (embedded - started),
                "catch_up_ms": 1000 * (caught_up - embedded),
                "index_ms": 1000 * (searched - caught_up),
                "fetch_ms": 1000 * (time.perf_counter() - searched),
            }
            return [
                Answer(some[: question.top_k], current.project.seq, version, found.is_exact, timings=timings)
                for question, some in zip(asked, passages, strict=True)
            ]

    def _report(self, seen: Snapshot, problem: str) -> None:
        """Note it in the row and queue a rebuild, unless one has come to its end meanwhile."""
        project, index = seen.project, seen.index
        log.error("index of %s/%s, %s: %s", project.team_id, project.id, index.faiss_path or "no file", problem)
        with self.database.write() as session:
            row = session.get(IndexRow, (index.team_id, index.project_id, index.embedding_version))
            if row is not None and row.updated_at == index.updated_at:
                row.problem = problem
                self.publisher.ask_for_rebuild(session, project)


def _check_version(asked: Sequence[Question], version: str) -> None:
    for question in asked:
        if question.embedding_version not in (None, version):
            raise Conflict(
                f"This namespace is served under embedding version {version!r}, not {question.embedding_version!r}. "
                "Leave embedding_version out, or rebuild with reembed=true and that new_embedding_version first.",
                param="embedding_version",
            )


def _fetch(session: Session, seen: Snapshot, hits: list[list[Hit]]) -> list[list[Passage]]:
    """The rows of the hits, in the hits' order, in the same snapshot that the index was brought up to."""
    wanted = {hit.faiss_id for found in hits for hit in found}
    if not wanted:
        return [[] for _ in hits]
    place = {"team_id": seen.project.team_id, "project_id": seen.project.id, "seq": seen.project.seq}
    rows = {row.faiss_id: row for row in session.execute(_ROWS, {**place, "wanted": list(wanted)})}
    return [[_passage(rows[hit.faiss_id], hit.score) for hit in found if hit.faiss_id in rows] for found in hits]


_ROWS = (
    select(
        Chunk.faiss_id, Chunk.doc_id, Chunk.chunk_index, Chunk.text, Chunk.section, Chunk.page_start, Chunk.page_end,
        Chunk.char_start, Chunk.char_end, Chunk.token_count, Chunk.revision, Revision.doc_metadata, Revision.title,
    )
    .join(
        Revision,
        and_(
            Revision.team_id == Chunk.team_id,
            Revision.project_id == Chunk.project_id,
            Revision.doc_id == Chunk.doc_id,
            Revision.revision == Chunk.revision,
        ),
    )
    .where(
        Chunk.team_id == bindparam("team_id"),
        Chunk.project_id == bindparam("project_id"),
        Chunk.faiss_id.in_(bindparam("wanted", expanding=True)),
        Chunk.deleted_at.is_(None),
        is_live(bindparam("seq")),
    )
)  # fmt: skip


def _passage(row: Any, score: float) -> Passage:
    return Passage(
        doc_id=row.doc_id,
        chunk_id=chunk_id(row.doc_id, row.chunk_index),
        text=row.text,
        score=score,
        metadata=row.doc_metadata,
        title=row.title,
        section=row.section,
        page_start=row.page_start,
        page_end=row.page_end,
        char_start=row.char_start,
        char_end=row.char_end,
        token_count=row.token_count,
        revision=row.revision,
    )


def chunk_id(doc_id: str, index: int) -> str:
    return f"{doc_id}#c{index:04d}"
