"""Searches namespaces: candidates of each side are fused, fetched, reranked and arranged. The database is the truth.

find_many() does the work that needs the snapshot. finish() does the rest and may take long: it calls the reranker.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.engine import Database
from database.repeating import repeatable
from domain import Partition, Vectors
from engines.keywords.base import KeywordStore
from engines.vectors.base import PartitionReader, VectorStore
from errors import EmbeddingRefused, Interrupted, Invalid, ServiceError, VersionMismatch
from metrics import count_search
from models import IndexRow, Project
from services.index.embedding import EmbeddingService
from services.index.namespaces import missing, not_here
from services.search.arranging import arrange
from services.search.filters.filtering import FilterService
from services.search.fusing import RankedList
from services.search.hints import NOTHING_PUBLISHED, hints, processing
from services.search.laps import Laps
from services.search.passages import own_vectors, with_context
from services.search.question import Answer, Candidate, Hint, Passage, Question, SearchTarget
from services.search.reading import Prepared, SnapshotReader, ranking
from services.search.relevance import floor_of
from services.search.reranking import RerankingService
from services.search.targets import read_target
from services.search.weighing import Weighing
from snapshot import Snapshot, read_snapshot, row_of

log = logging.getLogger(__name__)

MAX_SNAPSHOTS = 1000

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


class _Chosen(NamedTuple):
    """The ranked lists of a question, and the candidates among them whose rows are needed."""

    lists: list[RankedList]
    candidates: list[Candidate]
    is_exact: bool


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
    _snapshots: dict[SearchTarget, Snapshot] = field(default_factory=dict, init=False, repr=False)

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
        condition = question.condition
        if condition is None or not question.is_within_restriction:
            return False
        return self.filtering.needs_loading(question.place, condition)

    def prefetch(self, question: Question) -> None:
        """Load it now, concurrently with other searches, for find_many() to use."""
        with self.database.read() as session:
            snapshot = read_snapshot(session, *question.place)
            if snapshot is not None and question.condition is not None:
                self.filtering.read(session, snapshot.project, question.place, question.condition)

    def find_many(self, questions: Sequence[Question]) -> list[RawAnswer | Exception]:
        """The raw answer or the error of each question, in order. Questions of one target share the work."""
        by_number: dict[int, RawAnswer | Exception] = {}
        by_target: dict[SearchTarget, list[int]] = defaultdict(list)
        for number, question in enumerate(questions):
            if question.is_within_restriction:
                by_target[question.target].append(number)
            else:
                by_number[number] = _unknown(not_here(question.namespace))
        for target, numbers in by_target.items():
            results = self._search_target(target, [questions[number] for number in numbers])
            by_number.update(zip(numbers, results, strict=True))
        return [by_number[number] for number in range(len(questions))]

    def finish(self, question: Question, raw: RawAnswer) -> Answer:
        answer = self._finished(question, raw)
        count_search(question.mode, answer.timings)
        return answer

    def _finished(self, question: Question, raw: RawAnswer) -> Answer:
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

    def _search_target(self, target: SearchTarget, questions: list[Question]) -> Sequence[RawAnswer | Exception]:
        """Isolates errors: one namespace's error fails no other, and one invalid question fails none beside it."""
        try:
            return self._search_namespace(target, questions)
        except (VersionMismatch, EmbeddingRefused, Invalid) as error:
            if len(questions) == 1:
                return [error]
            return [result for question in questions for result in self._search_target(target, [question])]
        except Exception as error:
            return [error] * len(questions)

    def _search_namespace(self, target: SearchTarget, questions: list[Question]) -> list[RawAnswer]:
        """Questions are prepared by the namespace's last snapshot, which another process may have outdated since. So
        nothing is answered from it, not even an error: the transaction that searches reads the snapshot that counts.
        """
        laps, last = Laps(), self._snapshots.get(target)
        snapshot, is_current = last or self._current_snapshot(target), last is None
        while snapshot is not None:
            try:
                prepared = self._prepare(snapshot, questions)
            except ServiceError:
                if is_current:
                    raise
                snapshot, is_current = self._current_snapshot(target), True
                continue
            laps.end("embed_ms")
            is_dense = any(each.vectors is not None for each in prepared)
            with self._partition(snapshot, is_needed=is_dense) as partition, self.database.read() as session:
                current = read_target(session, target, known=snapshot)
                if current is not None and _basis(current) == _basis(snapshot):
                    self._remember(target, current)
                    if not current.project.next_faiss_id:
                        waiting = tuple(processing(session, current.project))
                        return [RawAnswer(_empty_answer(current, question, waiting)) for question in questions]
                    reader = SnapshotReader(session, current, partition, self.keywords, laps)
                    return self._search_snapshot(reader, prepared)
            snapshot, is_current = current, True  # the namespace got its first chunk, or moved to another version
        with self.database.read() as session:
            return [_unknown(missing(session, *target.place, each.restriction)) for each in questions]

    def _current_snapshot(self, target: SearchTarget) -> Snapshot | None:
        with self.database.read() as session:
            return read_target(session, target)

    def _remember(self, target: SearchTarget, snapshot: Snapshot) -> None:
        if target not in self._snapshots and len(self._snapshots) >= MAX_SNAPSHOTS:
            self._snapshots.clear()
        self._snapshots[target] = snapshot

    def _partition(self, snapshot: Snapshot, *, is_needed: bool) -> AbstractContextManager[PartitionReader | None]:
        if not is_needed:
            return nullcontext()
        return self.vectors.open_partition(snapshot.key, snapshot.index.dimension)

    def _prepare(self, snapshot: Snapshot, questions: Sequence[Question]) -> list[Prepared]:
        """Embeds all texts in one batch. Questions without a dense side need no model, nor does an unused namespace."""
        version, dimension = snapshot.key.embedding_version, snapshot.index.dimension
        inputs = [each for question in questions if "dense" in question.sides for each in question.inputs_for("dense")]
        if not snapshot.project.next_faiss_id:
            return [Prepared.of(question, None) for question in questions]
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
        place = questions[0].question.place
        for problem in reader.catch_up(questions):
            self._report(place, reader.snapshot, problem)
        reader.laps.end("catch_up_ms")
        questions = [self._limited(reader, each) for each in questions]
        filters = [each.question.condition for each in questions]
        groups = self.filtering.groups(reader.session, reader.snapshot.project, filters)
        if any(filters):
            reader.laps.end("filter_ms")
        chosen: dict[int, _Chosen] = {}
        for group in groups:
            members = [questions[number] for number in group.numbers]
            if group.allowed is not None:
                members = [replace(each, allowed=group.allowed) for each in members]
            ranked, is_exact = reader.ranked(members)
            for number, each, lists in zip(group.numbers, members, ranked, strict=True):
                chosen[number] = _Chosen(lists, reader.candidates(each, lists), is_exact)
        in_order = [chosen[number] for number in range(len(questions))]
        passages = reader.passages([each.candidates for each in in_order])
        answers = [self._raw_answer(reader, *each) for each in zip(questions, in_order, passages, strict=True)]
        reader.laps.end("fetch_ms")
        return answers

    def _limited(self, reader: SnapshotReader, prepared: Prepared) -> Prepared:
        """With the chunks that the caller may see, if those are not all."""
        question = prepared.question
        if question.visibility is None:
            return prepared
        visible = self.filtering.allowed(reader.session, reader.snapshot.project, question.visibility)
        return replace(prepared, visible=visible)

    def _raw_answer(
        self, reader: SnapshotReader, prepared: Prepared, chosen: _Chosen, passages: list[Passage]
    ) -> RawAnswer:
        """The final passages, or all candidates in order if they are still to be reranked."""
        question, vectors = prepared.question, None
        matches = partial(self.filtering.allowed, reader.session, reader.snapshot.project)
        if question.mmr_lambda is not None and passages:
            vectors = own_vectors(reader.session, reader.snapshot, [passage.faiss_id for passage in passages])
        if question.is_arranged and not question.rerank:
            passages = arrange(question, passages, vectors)
        if question.context:
            passages = with_context(
                reader.session, reader.snapshot, passages, question.context, visible=prepared.visible
            )
        seq, key = reader.snapshot.project.seq, reader.snapshot.key
        lists = ranking(question, chosen.lists)
        reasons = hints(reader.session, reader.snapshot.project, question, lists, passages, matches)
        floor, timings = None, reader.laps.milliseconds
        if question.is_judged:
            floor = floor_of([each.scale for each in chosen.lists])
        shadow = reader.snapshot.namespace.shadow if question.is_of_serving_version else None
        answer = Answer(
            passages, seq, key.embedding_version, chosen.is_exact, reasons, timings, key, floor=floor, shadow=shadow
        )
        return RawAnswer(answer, vectors)

    def _report(self, place: tuple[str, str], snapshot: Snapshot, problem: str) -> None:
        """Record the problem in the index row and queue a rebuild, unless a rebuild has finished meanwhile.

        The search goes on in any case; if this fails, the next search reports the problem.
        """
        project, index = snapshot.project, snapshot.index
        log.error("index of %s/%s, %s: %s", *place, index.faiss_path or "no file", problem)
        try:
            with self.database.write() as session:
                row = session.scalar(select(IndexRow).where(row_of(snapshot.key)))
                if row is not None and row.updated_at == index.updated_at:
                    row.problem = problem
                    self.request_rebuild(session, project)
        except ServiceError as error:
            log.error("could not queue its rebuild: %s", error)


def _basis(snapshot: Snapshot) -> tuple[Partition, int, bool]:
    """What questions are prepared by."""
    return snapshot.key, snapshot.index.dimension, snapshot.project.next_faiss_id > 0


def _unknown(message: str) -> RawAnswer:
    return RawAnswer(Answer([], hints=(Hint("unknown_namespace", message),)))


def _empty_answer(snapshot: Snapshot, question: Question, waiting: tuple[Hint, ...]) -> Answer:
    """For a namespace that never had a chunk, so that its dimension may not be known yet."""
    hints = (NOTHING_PUBLISHED, *waiting) if question.visibility is None else (NOTHING_PUBLISHED,)
    return Answer([], snapshot.project.seq, snapshot.key.embedding_version, hints=hints, partition=snapshot.key)
