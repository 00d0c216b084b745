"""Find passages: candidates of each side, fused, fetched, reranked, arranged. The database says what exists.

find_many() does what needs the snapshot; finish() does what does not, and may take long: it asks the reranker.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from sqlalchemy import select

from database.engine import Database
from database.repeating import repeatable
from domain import Vectors
from engines.keywords.base import KeywordStore
from engines.vectors.base import VectorStore
from errors import EmbeddingRefused, Interrupted, Invalid, ServiceError, VersionMismatch
from models import IndexRow
from services.index.embedding import EmbeddingService
from services.index.namespaces import missing
from services.index.publishing import Publisher
from services.search.arranging import arranged
from services.search.filters.filtering import FilterService
from services.search.fusing import Ranked
from services.search.laps import Laps
from services.search.passages import chunk_id, own_vectors, with_context
from services.search.question import Answer, FoundBy, Passage, Question
from services.search.reading import Asked, Reader, why_nothing
from services.search.reranking import RerankingService
from snapshot import Snapshot, row_of, snapshot

__all__ = ["Answer", "Found", "FoundBy", "Passage", "Question", "SearchService", "chunk_id"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """An answer before its passages are reranked and arranged; *vectors* are theirs, where diversity is asked for.

    *since* is when it was found, on the monotonic clock.
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
    publisher: Publisher
    filtering: FilterService
    reranking: RerankingService

    @repeatable
    def search(self, question: Question) -> Answer:
        """Try again what the database interrupted, with pauses: not for the query thread."""
        [found] = self.find_many([question])
        if isinstance(found, Exception):
            raise found
        return self.finish(question, found)

    @repeatable
    def search_many(self, questions: Sequence[Question]) -> list[Answer | Exception]:
        """As search(), for all of them together."""
        results = self.find_many(questions)
        for result in results:
            if isinstance(result, Interrupted):
                raise result
        return [
            result if isinstance(result, Exception) else self.finish(question, result)
            for question, result in zip(questions, results, strict=True)
        ]

    def needs_reading(self, question: Question) -> bool:
        """Before its filter can be answered what the namespace says has to be read, which may take seconds."""
        return question.filters is not None and self.filtering.lacks(question.place, question.filters)

    def read_ahead(self, question: Question) -> None:
        """Read it now, beside other searches, so that find_many() finds it there."""
        with self.database.read() as session:
            seen = snapshot(session, *question.place)
            if seen is not None and question.filters is not None:
                self.filtering.read(session, seen.project, question.place, question.filters)

    def find_many(self, questions: Sequence[Question]) -> list[Found | Exception]:
        """What was found, or the error, per question, in order. Questions of one namespace share the work."""
        answers: dict[int, Found | Exception] = {}
        by_place: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, question in enumerate(questions):
            by_place[question.place].append(number)
        for place, numbers in by_place.items():
            found = self._found(place, [questions[number] for number in numbers])
            answers.update(zip(numbers, found, strict=True))
        return [answers[number] for number in range(len(questions))]

    def finish(self, question: Question, found: Found) -> Answer:
        if not question.rerank or found.answer.partition is None:
            return found.answer
        laps = Laps()
        texts, passages = question.texts, found.answer.passages
        order, passages, reranked = self.reranking.rerank(texts[0], passages, since=found.since)
        vectors = None if found.vectors is None else found.vectors[order]
        shown = arranged(question, passages, vectors)
        laps.end("rerank_ms")
        return replace(found.answer, passages=shown, reranked=reranked, timings={**found.answer.timings, **laps.ended})

    def _found(self, place: tuple[str, str], asked: list[Question]) -> Sequence[Found | Exception]:
        """What is wrong with one namespace is not another's trouble, nor one question's that of those beside it."""
        try:
            return self._search_namespace(*place, asked)
        except (VersionMismatch, EmbeddingRefused, Invalid) as error:
            if len(asked) == 1:
                return [error]
            return [answer for question in asked for answer in self._found(place, [question])]
        except Exception as error:
            return [error] * len(asked)

    def _search_namespace(self, tenant_id: str, namespace: str, questions: list[Question]) -> list[Found]:
        with self.database.read() as session:
            seen = snapshot(session, tenant_id, namespace)
        if seen is None:
            return [Found(Answer([], hint=missing(namespace))) for _ in questions]
        laps = Laps()
        while True:
            version = seen.key.embedding_version
            _check_version(questions, version)
            if not seen.project.next_faiss_id:
                return [Found(_nothing_yet(seen)) for _ in questions]
            asked = self._embedded(questions, version, seen.index.dimension)
            laps.end("embed_ms")
            with ExitStack() as stack:
                opened = None
                if any(each.vectors is not None for each in asked):
                    opened = stack.enter_context(self.vectors.opened(seen.key, seen.index.dimension))
                session = stack.enter_context(self.database.read())
                current = snapshot(session, tenant_id, namespace) or seen
                if current.key == seen.key:
                    return self._search_snapshot(Reader(session, current, opened, self.keywords, laps), asked)
            seen = current  # the namespace moved to another version in between

    def _embedded(self, questions: Sequence[Question], version: str, dimension: int) -> list[Asked]:
        """All texts at once. A question of words alone needs no model."""
        told = [each for question in questions if "dense" in question.sides for each in question.asked_of("dense")]
        if not told:
            return [Asked.of(question, None) for question in questions]
        vectors = self.embedding.embed_queries(version, dimension, told)
        asked, start = [], 0
        for question in questions:
            end = start + (len(question.asked_of("dense")) if "dense" in question.sides else 0)
            asked.append(Asked.of(question, vectors[start:end] if end > start else None))
            start = end
        return asked

    def _search_snapshot(self, reader: Reader, asked: Sequence[Asked]) -> list[Found]:
        for problem in reader.catch_up(asked):
            self._report(reader.seen, problem)
        reader.laps.end("catch_up_ms")
        place, filters = asked[0].question.place, [each.question.filters for each in asked]
        groups = self.filtering.groups(reader.session, reader.seen.project, place, filters)
        if any(filters):
            reader.laps.end("filter_ms")
        found: dict[int, Found] = {}
        for group in groups:
            some = [replace(asked[number], allowed=group.allowed) for number in group.numbers]
            ranked, is_exact = reader.ranked(some)
            for number, each, lists in zip(group.numbers, some, ranked, strict=True):
                found[number] = self._told(reader, each, lists, is_exact=is_exact)
        reader.laps.end("fetch_ms")
        return [found[number] for number in range(len(asked))]

    def _told(self, reader: Reader, each: Asked, lists: list[Ranked], *, is_exact: bool) -> Found:
        """What is shown, unless it is still to be reranked: then all candidates, in the order that they have."""
        question, passages = each.question, reader.passages(each, lists)
        vectors = None
        if question.mmr_lambda is not None and passages:
            vectors = own_vectors(reader.session, reader.seen, [passage.faiss_id for passage in passages])
        if question.is_arranged and not question.rerank:
            passages = arranged(question, passages, vectors)
        if question.context:
            passages = with_context(reader.session, reader.seen, passages, question.context)
        seq, key = reader.seen.project.seq, reader.seen.key
        hint = None if passages else why_nothing(question, lists)
        answer = Answer(passages, seq, key.embedding_version, is_exact, hint, reader.laps.ended, key)
        return Found(answer, vectors)

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
                    self.publisher.request_rebuild(session, project)
        except ServiceError as error:
            log.error("could not queue its rebuild: %s", error)


def _nothing_yet(seen: Snapshot) -> Answer:
    """Of a namespace that never had a chunk: which vectors it takes may not be decided yet."""
    version, hint = seen.key.embedding_version, "Nothing was published in this namespace yet."
    return Answer([], seen.project.seq, version, hint=hint, partition=seen.key)


def _check_version(asked: Sequence[Question], version: str) -> None:
    for question in asked:
        if question.embedding_version not in (None, version):
            raise VersionMismatch(
                f"This namespace is served under embedding version {version!r}, not {question.embedding_version!r}. "
                "Leave embedding_version out, or rebuild with reembed=true and that new_embedding_version first.",
                param="embedding_version",
            )
