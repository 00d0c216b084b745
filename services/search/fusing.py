"""Fuses ranked lists into one.

By default the result is an absolute score: the mean of what each list says of a chunk, on a scale that is the same for
every question. A cosine similarity counts from what unrelated texts score up to 1, BM25 as a share of the most that the
query could score. The vote of a dense list follows how well the model knows the query's words. docs/decisions/0027.

Min-max of scores (Lee, "Analyses of Multiple Evidence Combination", 1997) and reciprocal ranks (Cormack and others,
2009) compare a list with itself alone, and every list has the same vote. docs/decisions/0016.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from domain import Hit
from services.search.question import Candidate, FoundBy, Fusion, Side
from services.search.relevance import Scale

CANDIDATES = 200
"""How many hits of each list are fused; top_k if that is larger."""

_RANK_CONSTANT = 60


@dataclass(frozen=True, slots=True)
class RankedList:
    """The hits of one side for one question, best first. *others* are the scores of chunks that only other lists
    have among their hits."""

    side: Side
    query: int
    hits: Sequence[Hit]
    scale: Scale = field(default_factory=Scale)
    others: Mapping[int, float] = field(default_factory=dict)


def fuse(lists: Sequence[RankedList], fusion: Fusion) -> list[tuple[int, float]]:
    """Ids and scores, best first; of equal scores the lower id. A single list keeps its scores."""
    totals: dict[int, float] = defaultdict(float)
    if fusion == "weighted" and len(lists) > 1:
        totals = weighted(lists)
    else:
        for ranked in lists:
            for (faiss_id, _), points in zip(ranked.hits, _contributions(ranked.hits, len(lists), fusion), strict=True):
                totals[faiss_id] += points
    best = sorted(sorted(totals), key=totals.__getitem__, reverse=True)  # stable, and no call per chunk
    return list(zip(best, map(totals.__getitem__, best), strict=True))


def weighted(lists: Sequence[RankedList]) -> dict[int, float]:
    """Absolute scores by id: the mean of what each list says, by its weight."""
    totals: dict[int, float] = defaultdict(float)
    total_weight = sum(ranked.scale.weight for ranked in lists) or 1.0
    for ranked in lists:
        zero, factor = ranked.scale.zero, ranked.scale.factor / total_weight
        for faiss_id, score in chain(ranked.hits, ranked.others.items()):
            totals[faiss_id] += factor * (score - zero)
    return totals


def explain(lists: Sequence[RankedList], best: Sequence[tuple[int, float]]) -> list[Candidate]:
    """The best, with their ranks in the lists."""
    found_by: dict[int, list[FoundBy]] = {faiss_id: [] for faiss_id, _ in best}
    for ranked in lists:
        for rank, (faiss_id, score) in enumerate(ranked.hits, 1):
            if faiss_id in found_by:
                found_by[faiss_id].append(FoundBy(ranked.side, ranked.query, rank, score))
    return [
        Candidate(faiss_id, score, tuple(found_by[faiss_id]), _similarity(lists, faiss_id, found_by[faiss_id]))
        for faiss_id, score in best
    ]


def _similarity(lists: Sequence[RankedList], faiss_id: int, found_by: Sequence[FoundBy]) -> float | None:
    known = [each.score for each in found_by if each.side == "dense"]
    known += [ranked.others[faiss_id] for ranked in lists if ranked.side == "dense" and faiss_id in ranked.others]
    return max(known, default=None)


def _contributions(hits: Sequence[Hit], list_count: int, fusion: Fusion) -> list[float]:
    """What each hit contributes to its fused score; the best of every list gets 1.0 in total."""
    if list_count == 1:
        return [score for _, score in hits]
    if fusion == "reciprocal_rank":
        return [(_RANK_CONSTANT + 1) / (_RANK_CONSTANT + rank) / list_count for rank in range(1, len(hits) + 1)]
    scores = [score for _, score in hits]
    lowest, spread = min(scores, default=0.0), max(scores, default=0.0) - min(scores, default=0.0)
    return [((score - lowest) / spread if spread > 0 else 1.0) / list_count for score in scores]
