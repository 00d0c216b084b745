"""One namespace at one snapshot: what each side finds there for some questions, fused and fetched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from sqlalchemy.orm import Session

from domain import Hit, Ids, Vectors
from engines.keywords.base import BEHIND, KeywordStore
from engines.vectors.base import Opened
from services.search.arranging import Scored, best_of_each
from services.search.fusing import CANDIDATES, Ranked, explained, fused
from services.search.laps import Laps
from services.search.passages import docs_of, passages_of, rows_of
from services.search.question import Passage, Question, Side
from snapshot import Snapshot
from text.words import query_words

GROWTH = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the vectors of its texts, if it has a dense side, and how many hits are wanted of each list.

    *allowed* are the chunks that its filter leaves, where it has one.
    """

    question: Question
    vectors: Vectors | None
    depth: int
    allowed: Ids | None = None

    @classmethod
    def of(cls, question: Question, vectors: Vectors | None) -> Asked:
        needs_more = question.is_fused or question.is_arranged
        return cls(question, vectors, max(CANDIDATES, question.top_k) if needs_more else question.top_k)


@dataclass
class Reader:
    """*opened* is there if any question has a dense side."""

    session: Session
    seen: Snapshot
    opened: Opened | None
    keywords: KeywordStore
    laps: Laps

    def catch_up(self, asked: Sequence[Asked]) -> Iterator[str]:
        """Yields what is wrong with an index, where that is news."""
        if self.opened is not None:
            problem = self.opened.catch_up(self.session, self.seen)
            if problem is not None:
                yield problem
        needs_keywords = any("keyword" in each.question.sides for each in asked)
        if needs_keywords and self.keywords.is_behind(self.seen) and self.seen.index.problem is None:
            yield BEHIND

    def ranked(self, asked: Sequence[Asked]) -> tuple[list[list[Ranked]], bool]:
        """For each question, all of which have one filter, its lists; and whether nothing can have been missed."""
        found: dict[Side, Iterator[list[Hit]]] = {}
        is_exact = True
        if dense := [each for each in asked if each.vectors is not None]:
            found["dense"], is_exact = self._dense(dense)
            self.laps.end("index_ms")
        if by_words := [each for each in asked if "keyword" in each.question.sides]:
            found["keyword"] = self._keyword(by_words)
            self.laps.end("keywords_ms")
        lists = [
            [
                Ranked(side, query, hits[: each.depth])
                for side in each.question.sides
                for query, hits in enumerate(islice(found[side], len(each.question.asked_of(side))))
            ]
            for each in asked
        ]
        return lists, is_exact

    def passages(self, each: Asked, lists: list[Ranked]) -> list[Passage]:
        """Best first: *top_k*, or where they are still to be arranged as many candidates as one list has."""
        question = each.question
        if question.by_doc:
            lists, good = self._of_documents(each, lists)
        else:
            good = _good(question, fused(lists, question.fusion))
        most = max(CANDIDATES, question.most_chunks) if question.is_arranged else question.top_k
        chosen = explained(lists, good[:most])
        return passages_of(chosen, rows_of(self.session, self.seen, [each.faiss_id for each in chosen]))

    def _of_documents(self, each: Asked, lists: list[Ranked]) -> tuple[list[Ranked], Scored]:
        """The best candidates of each document. If they come from too few documents, more are looked at."""
        question = each.question
        wanted = min(question.top_k, self.seen.project.live_docs)
        while True:
            best = fused(lists, question.fusion)
            good = _good(question, best)
            docs = docs_of(self.session, self.seen, [faiss_id for faiss_id, _ in good])
            is_all = len(good) < len(best) or all(len(ranked.hits) < each.depth for ranked in lists)
            if len(set(docs.values())) >= wanted or is_all:
                most = None if question.rerank or question.mmr_lambda is not None else question.top_k
                return lists, best_of_each(good, docs, size=question.group_size, most_docs=most)
            each = replace(each, depth=GROWTH * each.depth)
            [lists], _ = self.ranked([each])

    def _dense(self, asked: Sequence[Asked]) -> tuple[Iterator[list[Hit]], bool]:
        assert self.opened is not None
        vectors = np.concatenate([each.vectors for each in asked if each.vectors is not None])
        k = max(each.depth for each in asked)
        found = self.opened.search(vectors, k=k, allowed=asked[0].allowed)
        return iter(found.per_query), found.is_exact

    def _keyword(self, asked: Sequence[Asked]) -> Iterator[list[Hit]]:
        queries: list[Counter[str]] = [query_words(text) for each in asked for text in each.question.texts]
        k = max(each.depth for each in asked)
        return iter(self.keywords.search(self.session, self.seen, queries, k=k, allowed=asked[0].allowed))


def why_nothing(question: Question, lists: Sequence[Ranked]) -> str | None:
    """What whoever asked can do about it, where that is known."""
    best = fused(lists, question.fusion)
    if best and question.min_score is not None:
        return f"The best chunk has score {best[0][1]:.3f}, below min_score {question.min_score:g}."
    if question.mode == "keyword" and not any(map(query_words, question.texts)):
        return "The question has no letter and no digit, and mode keyword looks for words alone."
    return None


def _good(question: Question, best: Scored) -> Scored:
    return [(faiss_id, score) for faiss_id, score in best if question.is_good_enough(score)]
