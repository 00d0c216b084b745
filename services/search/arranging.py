"""Arranges the passages of an answer: grouped by document, and diversified by MMR. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from domain import Vectors
from services.search.question import Passage, Question

ScoredIds = list[tuple[int, float]]
"""Chunk ids and their scores, best first."""


def best_per_document(hits: ScoredIds, docs: Mapping[int, str], *, size: int, max_docs: int | None) -> ScoredIds:
    """The best *size* chunks of each of the best *max_docs* documents; None: of all documents."""
    counts: Counter[str] = Counter()
    result = []
    for faiss_id, score in hits:
        doc_id = docs.get(faiss_id)
        if doc_id is None or (doc_id not in counts and len(counts) == max_docs):
            continue
        counts[doc_id] += 1
        if counts[doc_id] <= size:
            result.append((faiss_id, score))
    return result


def arrange(question: Question, passages: Sequence[Passage], vectors: Vectors | None) -> list[Passage]:
    """The passages to return, from *passages* in ranked order; *vectors* are their vectors, where MMR is requested."""
    order = list(range(len(passages)))
    if question.mmr_lambda is not None and vectors is not None:
        order = _diversified(_relevance(passages), vectors, question.mmr_lambda, question.max_chunks)
    if question.by_doc:
        order = _grouped(passages, order, question.top_k)
        return [passages[n] for n in order]
    return [passages[n] for n in order[: question.top_k]]


def _grouped(passages: Sequence[Passage], order: Sequence[int], max_docs: int) -> list[int]:
    """The chunks of the first *max_docs* documents, grouped by document; a document ranks as its best chunk."""
    groups: dict[str, list[int]] = {}
    for position in order:
        groups.setdefault(passages[position].doc_id, []).append(position)
    return [position for positions in list(groups.values())[:max_docs] for position in positions]


def _relevance(passages: Sequence[Passage]) -> NDArray[np.float64]:
    """The rerank scores, if there are any; passages beyond the rerank depth get the lowest of them."""
    reranked = [each.rerank_score for each in passages if each.rerank_score is not None]
    if not reranked:
        return np.array([each.score for each in passages], np.float64)
    lowest = min(reranked)
    return np.array([lowest if each.rerank_score is None else each.rerank_score for each in passages], np.float64)


def _diversified(relevance: NDArray[np.float64], vectors: Vectors, weight: float, count: int) -> list[int]:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998): each next passage is relevant and unlike the chosen.

    Whatever kind of score the relevance is, it is scaled to 0..1, like a cosine.
    """
    spread = float(np.ptp(relevance)) if len(relevance) else 0.0
    scores = (relevance - relevance.min()) / spread if spread > 0 else np.ones_like(relevance)
    similarity = np.zeros(len(scores))
    is_available = np.ones(len(scores), bool)
    chosen: list[int] = []
    while is_available.any() and len(chosen) < count:
        gains = np.where(is_available, weight * scores - (1 - weight) * similarity, -np.inf)
        best = int(np.argmax(gains))
        chosen.append(best)
        is_available[best] = False
        similarity = np.maximum(similarity, vectors @ vectors[best])
    return chosen
