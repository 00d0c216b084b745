"""Searches namespaces: candidates of each side are fused, fetched, reranked and arranged. The database is the truth.

find_many() does the work that needs the snapshot. finish() does the rest and may take long: it calls the reranker.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.engine import Database
from database.repeating import repeatable
from domain import Vectors
from engines.keywords.base import KeywordStore
from engines.vectors.base import VectorStore
from errors import EmbeddingRefused, Interrupted, Invalid, ServiceError, VersionMismatch
from models import IndexRow, Project
from services.index.embedding import EmbeddingService
from services.index.namespaces import missing
from services.search.arranging import arrange
from services.search.filters.filtering import FilterService
from services.search.fusing import RankedList
from services.search.laps import Laps
from services.search.passages import own_vectors, with_context
from services.search.question import Answer, Question
from services.search.reading import Prepared, SnapshotReader, empty_result_hint
from services.search.relevance import floor_of
from services.search.reranking import RerankingService
from services.search.weighing import Weighing
from snapshot import Snapshot, read_snapshot, row_of

log = logging.getLogger(__name__)

RequestRebuild = Callable[[Session, Project], str]
"""Queues a rebuild of a namespace in the caller's transaction."""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer before reranking and arranging. *vectors* are those of its passages, if MMR is requested.

    *since* is the time of the search, on the monotonic clock.
    """

    answer: Answer
    vectors: Vectors | None = None
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class SearchService:
    database: Database
    embedding: EmbeddingService
    vectors: VectorStore
    keywords: KeywordStore
    filtering: FilterService
    reranking: RerankingService
    weighing: Weighing
    request_rebuild: RequestRebuild

    @repeatable
    def search(self, question: Question) -> Answer:
        """Retries with pauses when the database interrupts it: not for the query thread."""
        [raw] = self.find_many([question])
        if isinstance(raw, Exception):
            raise raw
        return self.finish(question, raw)

    @repeatable
    def search_many(self, questions: Sequence[Question]) -> list[Answer | Exception]:
        """As search(), for several questions that share the work."""
        results = self.find_many(questions)
        for result in results:
            if isinstance(result, Interrupted):
                raise result
        return [
            result if isinstance(result, Exception) else self.finish(question, result)
            for question, result in zip(questions, results, strict=True)
        ]

    def needs_prefetch(self, question: Question) -> bool:
        """Whether the namespace must be loaded for the question's filter first, which may take seconds."""
        return question.filters is not None and self.filtering.needs_loading(question.place, question.filters)

    def prefetch(self, question: Question) -> None:
        """Load it now, concurrently with other searches, for find_many() to use."""
        with self.database.read() as session:
            snapshot = read_snapshot(session, *question.place)
            if snapshot is not None and question.filters is not None:
                self.filtering.read(session, snapshot.project, question.place, question.filters)

    def find_many(self, questions: Sequence[Question]) -> list[RawAnswer | Exception]:
        """The raw answer or the error of each question, in order. Questions of one namespace share the work."""
        by_number: dict[int, RawAnswer | Exception] = {}
        by_place: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, question in enumerate(questions):
            by_place[question.place].append(number)
        for place, numbers in by_place.items():
            results = self._search_place(place, [questions[number] for number in numbers])
            by_number.update(zip(numbers, results, strict=True))
        return [by_number[number] for number in range(len(questions))]

    def finish(self, question: Question, raw: RawAnswer) -> Answer:
        if not question.rerank or raw.answer.partition is None:
            return raw.answer
        laps = Laps()
        texts, passages = question.texts, raw.answer.passages
        order, passages, reranked = self.reranking.rerank(texts[0], passages, since=raw.since)
        vectors = None if raw.vectors is None else raw.vectors[order]
        chosen = arrange(question, passages, vectors)
        laps.end("rerank_ms")
        return replace(
            raw.answer, passages=chosen, reranked=reranked, timings={**raw.answer.timings, **laps.milliseconds}
        )

    def _search_place(self, place: tuple[str, str], questions: list[Question]) -> Sequence[RawAnswer | Exception]:
        """Isolates errors: one namespace's error fails no other, and one invalid question fails none beside it."""
        try:
            return self._search_namespace(*place, questions)
        except (VersionMismatch, EmbeddingRefused, Invalid) as error:
            if len(questions) == 1:
                return [error]
            return [result for question in questions for result in self._search_place(place, [question])]
        except Exception as error:
            return [error] * len(questions)

    def _search_namespace(self, tenant_id: str, namespace: str, questions: list[Question]) -> list[RawAnswer]:
        with self.database.read() as session:
            snapshot = read_snapshot(session, tenant_id, namespace)
        if snapshot is None:
            return [RawAnswer(Answer([], hint=missing(namespace))) for _ in questions]
        laps = Laps()
        while True:
            version = snapshot.key.embedding_version
            _check_version(questions, version)
            if not snapshot.project.next_faiss_id:
                return [RawAnswer(_empty_answer(snapshot)) for _ in questions]
            prepared = self._prepare(questions, version, snapshot.index.dimension)
            laps.end("embed_ms")
            with ExitStack() as stack:
                partition = None
                if any(each.vectors is not None for each in prepared):
                    partition = stack.enter_context(self.vectors.open_partition(snapshot.key, snapshot.index.dimension))
                session = stack.enter_context(self.database.read())
                current = read_snapshot(session, tenant_id, namespace) or snapshot
                if current.key == snapshot.key:
                    return self._search_snapshot(
                        SnapshotReader(session, current, partition, self.keywords, laps), prepared
                    )
            snapshot = current  # the namespace moved to another version in between

    def _prepare(self, questions: Sequence[Question], version: str, dimension: int) -> list[Prepared]:
        """Embeds all texts of dense sides in one batch. Questions without a dense side need no model."""
        inputs = [each for question in questions if "dense" in question.sides for each in question.inputs_for("dense")]
        vectors = self.embedding.embed_queries(version, dimension, inputs) if inputs else None
        prepared, start = [], 0
        for question in questions:
            if vectors is None or "dense" not in question.sides:
                prepared.append(self._prepare_words(question, version, dimension))
                continue
            end = start + len(question.inputs_for("dense"))
            needs_scales = question.is_fused or question.is_judged
            scales = self.weighing.scales(version, inputs[start:end]) if needs_scales else ()
            prepared.append(Prepared.of(question, vectors[start:end], scales))
            start = end
        return prepared

    def _prepare_words(self, question: Question, version: str, dimension: int) -> Prepared:
        """For mode keyword, which neither fails without a model nor waits for one: the words then judge alone."""
        if question.is_judged and self.embedding.loaded(version) is not None:
            try:
                vectors = self.embedding.embed_queries(version, dimension, question.texts)
                return Prepared.of(question, vectors, self.weighing.scales(version, question.texts))
            except ServiceError as error:
                log.warning("words alone judge the passages: %s", error)
        return Prepared.of(question, None)

    def _search_snapshot(self, reader: SnapshotReader, questions: Sequence[Prepared]) -> list[RawAnswer]:
        for problem in reader.catch_up(questions):
            self._report(reader.snapshot, problem)
        reader.laps.end("catch_up_ms")
        place, filters = questions[0].question.place, [each.question.filters for each in questions]
        groups = self.filtering.groups(reader.session, reader.snapshot.project, place, filters)
        if any(filters):
            reader.laps.end("filter_ms")
        answers: dict[int, RawAnswer] = {}
        for group in groups:
            group_questions = [replace(questions[number], allowed=group.allowed) for number in group.numbers]
            ranked, is_exact = reader.ranked(group_questions)
            for number, each, lists in zip(group.numbers, group_questions, ranked, strict=True):
                answers[number] = self._raw_answer(reader, each, lists, is_exact=is_exact)
        reader.laps.end("fetch_ms")
        return [answers[number] for number in range(len(questions))]

    def _raw_answer(
        self, reader: SnapshotReader, prepared: Prepared, lists: list[RankedList], *, is_exact: bool
    ) -> RawAnswer:
        """The final passages, or all candidates in order if they are still to be reranked."""
        question, passages = prepared.question, reader.passages(prepared, lists)
        vectors = None
        if question.mmr_lambda is not None and passages:
            vectors = own_vectors(reader.session, reader.snapshot, [passage.faiss_id for passage in passages])
        if question.is_arranged and not question.rerank:
            passages = arrange(question, passages, vectors)
        if question.context:
            passages = with_context(reader.session, reader.snapshot, passages, question.context)
        seq, key = reader.snapshot.project.seq, reader.snapshot.key
        hint = None if passages else empty_result_hint(question, lists)
        answer = Answer(
            passages,
            seq,
            key.embedding_version,
            is_exact,
            hint,
            reader.laps.milliseconds,
            key,
            floor=floor_of(lists) if question.is_judged else None,
        )
        return RawAnswer(answer, vectors)

    def _report(self, snapshot: Snapshot, problem: str) -> None:
        """Record the problem in the index row and queue a rebuild, unless a rebuild has finished meanwhile.

        The search goes on in any case; if this fails, the next search reports the problem.
        """
        project, index = snapshot.project, snapshot.index
        log.error("index of %s/%s, %s: %s", project.team_id, project.id, index.faiss_path or "no file", problem)
        try:
            with self.database.write() as session:
                row = session.scalar(select(IndexRow).where(row_of(snapshot.key)))
                if row is not None and row.updated_at == index.updated_at:
                    row.problem = problem
                    self.request_rebuild(session, project)
        except ServiceError as error:
            log.error("could not queue its rebuild: %s", error)


def _empty_answer(snapshot: Snapshot) -> Answer:
    """For a namespace that never had a chunk, so that its dimension may not be known yet."""
    version, hint = snapshot.key.embedding_version, "Nothing was published in this namespace yet."
    return Answer([], snapshot.project.seq, version, hint=hint, partition=snapshot.key)


def _check_version(questions: Sequence[Question], version: str) -> None:
    for question in questions:
        if question.embedding_version not in (None, version):
            raise VersionMismatch(
                f"This namespace is served under embedding version {version!r}, not {question.embedding_version!r}. "
                "Leave embedding_version out, or rebuild with reembed=true and that new_embedding_version first.",
                param="embedding_version",
            )
