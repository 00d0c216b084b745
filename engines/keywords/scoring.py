"""BM25 over the postings of one namespace: Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009).

The idf is Lucene's, which is never negative. The average length is that of the chunks that hold a word of the query,
so nobody has to count the namespace's words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from domain import Hit, Ids
from engines.keywords.lexemes import BUCKETS, ids_and_lengths

Bm25Scores = NDArray[np.float64]

K1 = 1.2
B = 0.75
WORTH_A_TABLE = 8


def bm25(
    query: Mapping[str, int], postings: Mapping[str, Sequence[Ids]], *, chunks: int, k: int, allowed: Ids | None
) -> list[Hit]:
    """The *k* best. *query* says how often it has each word, *postings* who has it, one array per bucket."""
    rows, factors, times = [], [], []
    for word, said in query.items():
        holders = sum(map(len, postings[word]))
        weight = said * (K1 + 1) * math.log(1 + (chunks - holders + 0.5) / (holders + 0.5))
        for count, some in zip(BUCKETS, postings[word], strict=True):
            rows.append(some)
            factors.append(weight * count)
            times.append(float(count))
    sizes = list(map(len, rows))
    if not sum(sizes):
        return []
    ids, lengths = ids_and_lengths(np.concatenate(rows))
    names, places = _places(ids)
    length_of = np.zeros(len(names))  # of those that hold no word it stays 0
    length_of[places] = lengths
    held = np.flatnonzero(length_of)
    norms = K1 * (1 - B + B * lengths / length_of[held].mean())
    parts = np.repeat(factors, sizes) / (np.repeat(times, sizes) + norms)
    scores: Bm25Scores = np.bincount(places, parts, len(names))[held].astype(np.float64, copy=False)
    found = names[held]
    if allowed is not None:
        is_allowed = np.isin(found, allowed, assume_unique=True)
        found, scores = found[is_allowed], scores[is_allowed]
    return _best(found, scores, k)


def _places(ids: Ids) -> tuple[Ids, Ids]:
    """Ids, ascending, all of *ids* among them, and where each of these stands. Ids are dense: sorting costs more."""
    lowest = int(ids.min())
    size = int(ids.max()) - lowest + 1
    if size > WORTH_A_TABLE * len(ids):
        return np.unique(ids, return_inverse=True)
    return np.arange(lowest, lowest + size), ids - lowest


def _best(ids: Ids, scores: Bm25Scores, k: int) -> list[Hit]:
    if len(ids) > k:
        is_near = scores >= np.partition(scores, -k)[-k]
        ids, scores = ids[is_near], scores[is_near]
    order = np.lexsort((ids, -scores))[:k]
    return [Hit(int(ids[place]), float(scores[place])) for place in order]
