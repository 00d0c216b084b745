"""BM25 over the postings of one namespace: Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009).

The idf is Lucene's, which is never negative. The average length is that of the chunks that hold a word of the query,
so that no total of the namespace has to be maintained; therefore none of their postings may be skipped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from domain import Hit, Ids
from engines.keywords.base import Bm25Scores, Matches
from engines.keywords.lexemes import BUCKETS
from engines.keywords.postings import LENGTHS, Postings

K1 = 1.2
B = 0.75
WORTH_A_TABLE = 8
FEW = 16

_FREQUENCIES = np.repeat(np.array(BUCKETS, np.float64), LENGTHS)
_LENGTHS = np.tile(np.arange(LENGTHS, dtype=np.float64), len(BUCKETS))
"""The frequency and the length that each code stands for."""


def bm25(
    query: Mapping[str, int], postings: Mapping[str, Postings], *, chunks: int, k: int, allowed: Ids | None
) -> Matches:
    """With the *k* best hits. *query* counts its words; *postings* has those of each, in a namespace of *chunks*."""
    lists = [postings[word] for word in query]
    weights = [count * (K1 + 1) * _idf(len(each), chunks) for count, each in zip(query.values(), lists, strict=True)]
    if not any(map(len, lists)):
        return Matches([], sum(weights), sum(query.values()), np.empty(0, np.int64), np.empty(0))
    ids_in_order, positions = _positions(np.concatenate([each.ids for each in lists]))
    code_of = np.zeros(len(ids_in_order), np.uint16)  # stays 0 for chunks without any of the words
    code_of[positions] = np.concatenate([each.codes for each in lists])
    matching = np.flatnonzero(code_of)
    average = int((code_of[matching] & (LENGTHS - 1)).sum()) / len(matching)
    denominators = _FREQUENCIES + K1 * (1 - B + B * _LENGTHS / average)
    contributions = [_contributions(*each, denominators) for each in zip(weights, lists, strict=True)]
    scores: Bm25Scores = np.bincount(positions, np.concatenate(contributions), len(code_of))[matching].astype(
        np.float64, copy=False
    )
    ids = ids_in_order[matching]
    if allowed is not None:
        chosen = _among(ids, allowed)
        ids, scores = ids[chosen], scores[chosen]
    return Matches(_best(ids, scores, k), sum(weights), sum(query.values()), ids, scores)


def _idf(doc_frequency: int, chunks: int) -> float:
    return math.log(1 + (chunks - doc_frequency + 0.5) / (doc_frequency + 0.5))


def _contributions(weight: float, postings: Postings, denominators: Bm25Scores) -> Bm25Scores:
    """What the word adds to the score of each chunk. There are few codes: more postings than that look it up."""
    codes = postings.codes
    if len(codes) > len(denominators):
        return (weight * _FREQUENCIES / denominators)[codes]
    return weight * _FREQUENCIES[codes] / denominators[codes]


def _positions(ids: NDArray[np.uint32]) -> tuple[Ids, Ids]:
    """Ascending ids that include *ids*, and the position of each. Usually a range: ids are dense, sorting is slow."""
    lowest = int(ids.min())
    size = int(ids.max()) - lowest + 1
    if size > WORTH_A_TABLE * len(ids):
        in_order, positions = np.unique(ids, return_inverse=True)
        return in_order.astype(np.int64), positions
    return np.arange(lowest, lowest + size), np.subtract(ids, lowest, dtype=np.int64)


def _among(ids: Ids, allowed: Ids) -> Ids:
    """The positions of those *ids* that are *allowed*; both ascend."""
    if FEW * len(allowed) > len(ids):
        return np.flatnonzero(np.isin(ids, allowed, assume_unique=True))
    places = np.searchsorted(ids, allowed)
    places, allowed = places[places < len(ids)], allowed[places < len(ids)]
    chosen: Ids = places[ids[places] == allowed]
    return chosen


def _best(ids: Ids, scores: Bm25Scores, k: int) -> list[Hit]:
    if len(ids) > k:
        near = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
        ids, scores = ids[near], scores[near]
    order = np.lexsort((ids, -scores))[:k]
    return list(zip(ids[order].tolist(), scores[order].tolist(), strict=True))
