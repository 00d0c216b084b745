"""BM25 over the postings of one namespace: Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009).

The idf is Lucene's, which is never negative. The average length is that of the chunks that hold a word of the query,
so that no total of the namespace has to be maintained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from domain import Hit, Ids
from engines.keywords.base import Bm25Scores, Matches
from engines.keywords.lexemes import BUCKETS, ids_and_lengths

K1 = 1.2
B = 0.75
WORTH_A_TABLE = 8


def bm25(
    query: Mapping[str, int], postings: Mapping[str, Sequence[Ids]], *, chunks: int, k: int, allowed: Ids | None
) -> Matches:
    """With the *k* best hits. *query* counts its words; *postings* has an array per word and bucket."""
    rows, factors, frequencies, highest = [], [], [], 0.0
    for word, query_count in query.items():
        doc_frequency = sum(map(len, postings[word]))
        weight = query_count * (K1 + 1) * math.log(1 + (chunks - doc_frequency + 0.5) / (doc_frequency + 0.5))
        highest += weight
        for count, bucket in zip(BUCKETS, postings[word], strict=True):
            rows.append(bucket)
            factors.append(weight * count)
            frequencies.append(float(count))
    sizes = list(map(len, rows))
    if not sum(sizes):
        return Matches([], highest, sum(query.values()), np.empty(0, np.int64), np.empty(0))
    ids, lengths = ids_and_lengths(np.concatenate(rows))
    ids_in_order, positions = _positions(ids)
    length_of = np.zeros(len(ids_in_order))  # stays 0 for chunks without any of the words
    length_of[positions] = lengths
    matching = np.flatnonzero(length_of)
    norms = K1 * (1 - B + B * lengths / length_of[matching].mean())
    contributions = np.repeat(factors, sizes) / (np.repeat(frequencies, sizes) + norms)
    scores: Bm25Scores = np.bincount(positions, contributions, len(ids_in_order))[matching].astype(
        np.float64, copy=False
    )
    matching_ids = ids_in_order[matching]
    if allowed is not None:
        is_allowed = np.isin(matching_ids, allowed, assume_unique=True)
        matching_ids, scores = matching_ids[is_allowed], scores[is_allowed]
    return Matches(_best(matching_ids, scores, k), highest, sum(query.values()), matching_ids, scores)


def _positions(ids: Ids) -> tuple[Ids, Ids]:
    """Ascending ids that include *ids*, and the position of each. Usually a range: ids are dense, sorting is slow."""
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
    return [Hit(int(ids[position]), float(scores[position])) for position in order]
