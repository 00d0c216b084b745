"""The order of an answer: documents together, and no two passages that say the same. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from domain import Vectors
from services.search.question import Passage, Question

Scored = list[tuple[int, float]]
"""Ids of chunks and their scores, best first."""


def best_of_each(best: Scored, docs: Mapping[int, str], *, size: int, most_docs: int | None) -> Scored:
    """The first *size* chunks of each document, of the first *most_docs* of them; None: of all."""
    seen: Counter[str] = Counter()
    chosen = []
    for faiss_id, score in best:
        doc_id = docs.get(faiss_id)
        if doc_id is None or (doc_id not in seen and len(seen) == most_docs):
            continue
        seen[doc_id] += 1
        if seen[doc_id] <= size:
            chosen.append((faiss_id, score))
    return chosen


def arranged(question: Question, passages: Sequence[Passage], vectors: Vectors | None) -> list[Passage]:
    """What to show of *passages*, which stand in their order; *vectors* are theirs, where diversity is asked for."""
    chosen = list(range(len(passages)))
    if question.mmr_lambda is not None and vectors is not None:
        chosen = _diverse(_relevance(passages), vectors, question.mmr_lambda, question.most_chunks)
    if question.by_doc:
        chosen = _together(passages, chosen, question.top_k)
        return [passages[n] for n in chosen]
    return [passages[n] for n in chosen[: question.top_k]]


def _together(passages: Sequence[Passage], chosen: Sequence[int], docs: int) -> list[int]:
    """The chunks of the first *docs* documents, document by document, in the order of their best."""
    places: dict[str, list[int]] = {}
    for number in chosen:
        places.setdefault(passages[number].doc_id, []).append(number)
    return [number for numbers in list(places.values())[:docs] for number in numbers]


def _relevance(passages: Sequence[Passage]) -> NDArray[np.float64]:
    """The reranker's score where it gave any; who came too late for it is no better than its last."""
    reranked = [each.rerank_score for each in passages if each.rerank_score is not None]
    if not reranked:
        return np.array([each.score for each in passages], np.float64)
    last = min(reranked)
    return np.array([last if each.rerank_score is None else each.rerank_score for each in passages], np.float64)


def _diverse(relevance: NDArray[np.float64], vectors: Vectors, weight: float, wanted: int) -> list[int]:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998): each next one is good and unlike those before it.

    Relevance is scaled to 0 to 1, as a cosine is, whatever kind of score it was.
    """
    spread = float(np.ptp(relevance)) if len(relevance) else 0.0
    scores = (relevance - relevance.min()) / spread if spread > 0 else np.ones_like(relevance)
    nearest = np.zeros(len(scores))
    left = np.ones(len(scores), bool)
    chosen: list[int] = []
    while left.any() and len(chosen) < wanted:
        gains = np.where(left, weight * scores - (1 - weight) * nearest, -np.inf)
        best = int(np.argmax(gains))
        chosen.append(best)
        left[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return chosen
