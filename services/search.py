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
from engines.embedders.base import Vectors
from engines.vectors.base import Opened, VectorStore
from engines.vectors.truth import Snapshot, is_live, row_of, snapshot
from errors import EmbeddingRefused, Invalid, ServiceError, VersionMismatch
from models import Chunk, IndexRow, Json, Revision
from services.embedding import EmbeddingService
from services.filtering import FilterService, Group
from services.namespaces import missing
from services.publishing import Publisher
from text.filters import Filter

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """*vector*, as own_chunks.unit() gives it, is asked for instead of *query*."""

    tenant_id: str
    namespace: str
    query: str
    top_k: int
    embedding_version: str | None = None
    filters: Filter | None = None
    vector: bytes | None = None

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
    filtering: FilterService

    def search(self, question: Question) -> Answer:
        [answer] = self.search_many([question])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def search_many(self, questions: Sequence[Question]) -> list[Answer | Exception]:
        """One answer, or the error, per question, in order. Questions of one namespace share the work."""
        answers: dict[int, Answer | Exception] = {}
        by_place: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, question in enumerate(questions):
            by_place[question.place].append(number)
        for place, numbers in by_place.items():
            found = self._answers(place, [questions[number] for number in numbers])
            answers.update(zip(numbers, found, strict=True))
        return [answers[number] for number in range(len(questions))]

    def _answers(self, place: tuple[str, str], asked: list[Question]) -> Sequence[Answer | Exception]:
        """What is wrong with one namespace is not another's trouble, nor one question's that of those beside it."""
        try:
            return self._search_namespace(*place, asked)
        except (VersionMismatch, EmbeddingRefused, Invalid) as error:
            if len(asked) == 1:
                return [error]
            return [answer for question in asked for answer in self._answers(place, [question])]
        except Exception as error:
            return [error] * len(asked)

    def _search_namespace(self, tenant_id: str, namespace: str, asked: list[Question]) -> list[Answer]:
        with self.database.read() as session:
            seen = snapshot(session, tenant_id, namespace)
        if seen is None:
            return [Answer([], hint=missing(tenant_id, namespace)) for _ in asked]
        laps = _Laps()
        while True:
            version = seen.key.embedding_version
            _check_version(asked, version)
            told = [question.query if question.vector is None else question.vector for question in asked]
            vectors = self.embedding.of_questions(version, seen.index.dimension, told)
            laps.end("embed_ms")
            with self.vectors.opened(seen.key, seen.index.dimension) as opened, self.database.read() as session:
                current = snapshot(session, tenant_id, namespace) or seen
                if current.key == seen.key:
                    return self._search_snapshot(session, current, opened, asked, vectors, laps)
            seen = current  # the namespace moved to another version in between

    def _search_snapshot(
        self, session: Session, seen: Snapshot, opened: Opened, asked: list[Question], vectors: Vectors, laps: _Laps
    ) -> list[Answer]:
        problem = opened.catch_up(session, seen)
        if problem is not None:
            self._report(seen, problem)
        laps.end("catch_up_ms")
        groups = self.filtering.groups(session, seen.project, [question.filters for question in asked])
        if any(question.filters for question in asked):
            laps.end("filter_ms")
        found = _nearest(session, seen, opened, asked, vectors, groups)
        laps.end("index_ms")
        passages = _fetch(session, seen, [hits for hits, _ in found])
        laps.end("fetch_ms")
        version, seq = seen.key.embedding_version, seen.project.seq
        return [
            Answer(some, seq, version, is_exact, timings=laps.ended)
            for some, (_, is_exact) in zip(passages, found, strict=True)
        ]

    def _report(self, seen: Snapshot, problem: str) -> None:
        """Note it in the row and queue a rebuild, unless one has come to its end meanwhile.

        The search that found it goes on in any case; if this fails, the next one reports it.
        """
        project, index = seen.project, seen.index
        log.error("index of %s/%s, %s: %s", project.team_id, project.id, index.faiss_path or "no file", problem)
        try:
            with self.database.write() as session:
                row = session.scalar(select(IndexRow).where(row_of(seen.key)))
                if row is not None and row.updated_at == index.updated_at:
                    row.problem = problem
                    self.publisher.ask_for_rebuild(session, project)
        except ServiceError as error:
            log.error("could not queue its rebuild: %s", error)


class _Laps:
    """How long each step took, in milliseconds."""

    def __init__(self) -> None:
        self.ended: dict[str, float] = {}
        self._since = time.perf_counter()

    def end(self, name: str) -> None:
        now = time.perf_counter()
        self.ended[name] = 1000 * (now - self._since)
        self._since = now


def _check_version(asked: Sequence[Question], version: str) -> None:
    for question in asked:
        if question.embedding_version not in (None, version):
            raise VersionMismatch(
                f"This namespace is served under embedding version {version!r}, not {question.embedding_version!r}. "
                "Leave embedding_version out, or rebuild with reembed=true and that new_embedding_version first.",
                param="embedding_version",
            )


def _nearest(
    session: Session, seen: Snapshot, opened: Opened, asked: list[Question], vectors: Vectors, groups: Sequence[Group]
) -> list[tuple[list[Hit], bool]]:
    """The hits of each question, and whether they are exact. Questions with the same filter are one search."""
    answers: dict[int, tuple[list[Hit], bool]] = {}
    for group in groups:
        k = max(asked[number].top_k for number in group.numbers)
        found = opened.search(session, seen, vectors[group.numbers], k=k, allowed=group.allowed)
        for number, hits in zip(group.numbers, found.hits, strict=True):
            answers[number] = hits[: asked[number].top_k], found.is_exact
    return [answers[number] for number in range(len(asked))]


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
        Chunk.char_start, Chunk.char_end, Chunk.token_count, Chunk.revision, Chunk.chunk_metadata,
        Revision.doc_metadata, Revision.title,
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
        metadata={**row.doc_metadata, **(row.chunk_metadata or {})},
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
