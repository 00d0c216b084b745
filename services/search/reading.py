"""Reads one namespace at one snapshot: ranked lists of each side for a group of questions, then fused candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np
from sqlalchemy.orm import Session

from domain import Hit, Ids, Vectors
from engines.keywords.base import BEHIND, KeywordStore, Matches
from engines.vectors.base import PartitionReader
from services.search.arranging import ScoredIds, best_per_document
from services.search.fusing import CANDIDATES, RankedList, explain, fuse, weighted
from services.search.laps import Laps
from services.search.passages import docs_of, passages_of, rows_of
from services.search.question import Candidate, Passage, Question
from services.search.relevance import Scale, words_floor
from snapshot import Snapshot
from text.words import query_words

DEPTH_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Prepared:
    """A question, with the vectors of its texts if meaning ranks or judges. *depth* is the number of hits per list.

    *scales* are those of the similarities with each vector, if lists are fused. *allowed* are the chunks that its
    filter matches, and *visible* those that the caller may see; None: all.
    """

    question: Question
    vectors: Vectors | None
    depth: int
    scales: Sequence[Scale] = ()
    allowed: Ids | None = None
    visible: Ids | None = None

    @classmethod
    def of(cls, question: Question, vectors: Vectors | None, scales: Sequence[Scale] = ()) -> Prepared:
        needs_more = question.is_fused or question.is_arranged
        return cls(question, vectors, max(CANDIDATES, question.top_k) if needs_more else question.top_k, scales)


@dataclass
class SnapshotReader:
    """*partition* is None if no question has vectors."""

    session: Session
    snapshot: Snapshot
    partition: PartitionReader | None
    keywords: KeywordStore
    laps: Laps

    def catch_up(self, questions: Sequence[Prepared]) -> Iterator[str]:
        """Brings the index up to the snapshot. Yields problems of the indexes that nobody has reported yet."""
        if self.partition is not None:
            problem = self.partition.catch_up(self.session, self.snapshot)
            if problem is not None:
                yield problem
        needs_keywords = any(each.question.needs_words for each in questions)
        if needs_keywords and self.keywords.is_behind(self.snapshot) and self.snapshot.index.problem is None:
            yield BEHIND

    def ranked(self, questions: Sequence[Prepared]) -> tuple[list[list[RankedList]], bool]:
        """The ranked lists of each question, and whether they are exact. All questions have the same filter."""
        dense: Iterator[list[Hit]] = iter(())
        matches: Iterator[Matches] = iter(())
        is_exact = True
        if dense_questions := [each for each in questions if each.vectors is not None]:
            dense, is_exact = self._dense_hits(dense_questions)
            self.laps.end("index_ms")
        if keyword_questions := [each for each in questions if each.question.needs_words]:
            matches = self._matches(keyword_questions)
            self.laps.end("keywords_ms")
        lists = [self._lists(each, dense, matches) for each in questions]
        return lists, is_exact

    def _lists(self, prepared: Prepared, dense: Iterator[list[Hit]], matches: Iterator[Matches]) -> list[RankedList]:
        """Takes the next lists of each side. Fused ones have the scores of all candidates."""
        question, vectors, depth = prepared.question, prepared.vectors, prepared.depth
        own_dense = list(islice(dense, 0 if vectors is None else len(vectors)))
        own_matches = list(islice(matches, len(question.texts) if question.needs_words else 0))
        scales = prepared.scales or [Scale()] * len(own_dense)
        lists = [RankedList("dense", n, hits[:depth], scales[n]) for n, hits in enumerate(own_dense)]
        lists += [RankedList("keyword", n, each.hits[:depth], _share(each)) for n, each in enumerate(own_matches)]
        if len(lists) == 1:
            return lists
        own = [{faiss_id for faiss_id, _ in ranked.hits} for ranked in lists]
        candidates = frozenset[int]().union(*own)
        return [
            replace(ranked, others=self._others(ranked, candidates - ids, vectors, own_matches))
            for ranked, ids in zip(lists, own, strict=True)
        ]

    def _others(
        self, ranked: RankedList, missing: Set[int], vectors: Vectors | None, matches: Sequence[Matches]
    ) -> dict[int, float]:
        """The scores of the candidates that only other lists have among their hits."""
        ids = np.array(sorted(missing), np.int64)
        if ranked.side == "keyword":
            return dict(zip(ids.tolist(), matches[ranked.query].score_of(ids).tolist(), strict=True))
        assert self.partition is not None and vectors is not None
        return self.partition.similarities(vectors[ranked.query], ids)

    def candidates(self, prepared: Prepared, lists: list[RankedList]) -> list[Candidate]:
        """The best *top_k*, or as many candidates as a list has if they are still to be arranged."""
        question = prepared.question
        if question.by_doc:
            lists, good = self._grouped_candidates(prepared, lists)
        else:
            good = _good_enough(question, _fused(question, lists))
        limit = max(CANDIDATES, question.max_chunks) if question.is_arranged else question.top_k
        candidates = explain(ranking(question, lists), good[:limit])
        if not question.is_judged:
            return candidates
        relevance = weighted(lists)
        return [replace(each, relevance=relevance[each.faiss_id]) for each in candidates]

    def passages(self, candidates: Sequence[Sequence[Candidate]]) -> list[list[Passage]]:
        """The passages of each question's candidates, by one query for all questions."""
        ids = dict.fromkeys(each.faiss_id for of_question in candidates for each in of_question)
        rows = rows_of(self.session, self.snapshot, ids)
        return [passages_of(of_question, rows) for of_question in candidates]

    def _grouped_candidates(self, prepared: Prepared, lists: list[RankedList]) -> tuple[list[RankedList], ScoredIds]:
        """The best candidates of each document. Searches deeper while they belong to too few documents."""
        question = prepared.question
        doc_count = min(question.top_k, self.snapshot.project.live_docs)
        while True:
            best = _fused(question, lists)
            good = _good_enough(question, best)
            docs = docs_of(self.session, self.snapshot, [faiss_id for faiss_id, _ in good])
            is_exhausted = len(good) < len(best) or all(len(ranked.hits) < prepared.depth for ranked in lists)
            if len(set(docs.values())) >= doc_count or is_exhausted:
                max_docs = None if question.rerank or question.mmr_lambda is not None else question.top_k
                return lists, best_per_document(good, docs, size=question.group_size, max_docs=max_docs)
            prepared = replace(prepared, depth=DEPTH_FACTOR * prepared.depth)
            [lists], _ = self.ranked([prepared])

    def _dense_hits(self, questions: Sequence[Prepared]) -> tuple[Iterator[list[Hit]], bool]:
        assert self.partition is not None
        vectors = np.concatenate([each.vectors for each in questions if each.vectors is not None])
        k = max(each.depth for each in questions)
        hits = self.partition.search(vectors, k=k, allowed=questions[0].allowed)
        return iter(hits.per_query), hits.is_exact

    def _matches(self, questions: Sequence[Prepared]) -> Iterator[Matches]:
        """Questions that see different parts of the namespace do not share the scores of words."""
        if any(each.visible is not None for each in questions):
            return chain.from_iterable(self._word_hits([each]) for each in questions)
        return self._word_hits(questions)

    def _word_hits(self, questions: Sequence[Prepared]) -> Iterator[Matches]:
        queries: list[Counter[str]] = [query_words(text) for each in questions for text in each.question.texts]
        k = max(each.depth for each in questions)
        allowed, visible = questions[0].allowed, questions[0].visible
        return iter(self.keywords.search(self.session, self.snapshot, queries, k=k, allowed=allowed, visible=visible))


def _share(matches: Matches) -> Scale:
    """BM25 as a share of the most that the query could score. A query without words has no vote."""
    weight = 1.0 if matches.highest > 0 else 0.0
    return Scale(one=matches.highest, weight=weight, floor=words_floor(matches.words))


def ranking(question: Question, lists: Sequence[RankedList]) -> list[RankedList]:
    """The lists that rank, without those that only judge."""
    return [ranked for ranked in lists if ranked.side in question.sides]


def _fused(question: Question, lists: Sequence[RankedList]) -> ScoredIds:
    return fuse(ranking(question, lists), question.fusion)


def _good_enough(question: Question, best: ScoredIds) -> ScoredIds:
    if question.min_score is None:
        return best
    return [(faiss_id, score) for faiss_id, score in best if question.is_good_enough(score)]
