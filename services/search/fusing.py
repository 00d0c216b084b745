"""Fuses ranked lists into one. Every list has the same weight, so the two sides of a hybrid search count half each.

Min-max of scores (Lee, "Analyses of Multiple Evidence Combination", 1997) beat reciprocal ranks (Cormack and others,
2009) on every collection that was measured: a side with no good hit spreads its ranks as widely as one that has them,
but not its scores. docs/decisions/0016.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from domain import Hit
from services.search.question import FoundBy, Fusion, Side

CANDIDATES = 200
"""How many hits of each list are fused; top_k if that is larger."""

_RANK_CONSTANT = 60


@dataclass(frozen=True, slots=True)
class RankedList:
    """The hits of one side for one question, best first."""

    side: Side
    query: int
    hits: Sequence[Hit]


@dataclass(frozen=True, slots=True)
class Candidate:
    faiss_id: int
    score: float
    found_by: tuple[FoundBy, ...]


def fuse(lists: Sequence[RankedList], fusion: Fusion) -> list[tuple[int, float]]:
    """Ids and scores, best first. A single list keeps its scores."""
    totals: dict[int, float] = defaultdict(float)
    for ranked in lists:
        for hit, points in zip(ranked.hits, _contributions(ranked.hits, len(lists), fusion), strict=True):
            totals[hit.faiss_id] += points
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))


def explain(lists: Sequence[RankedList], best: Sequence[tuple[int, float]]) -> list[Candidate]:
    """The best, with their ranks in the lists."""
    found_by: dict[int, list[FoundBy]] = {faiss_id: [] for faiss_id, _ in best}
    for ranked in lists:
        for rank, hit in enumerate(ranked.hits, 1):
            if hit.faiss_id in found_by:
                found_by[hit.faiss_id].append(FoundBy(ranked.side, ranked.query, rank, hit.score))
    return [Candidate(faiss_id, score, tuple(found_by[faiss_id])) for faiss_id, score in best]


def _contributions(hits: Sequence[Hit], list_count: int, fusion: Fusion) -> list[float]:
    """What each hit contributes to its fused score; the best of every list gets 1.0 in total."""
    if list_count == 1:
        return [hit.score for hit in hits]
    if fusion == "reciprocal_rank":
        return [(_RANK_CONSTANT + 1) / (_RANK_CONSTANT + rank) / list_count for rank in range(1, len(hits) + 1)]
    scores = [hit.score for hit in hits]
    lowest, spread = min(scores, default=0.0), max(scores, default=0.0) - min(scores, default=0.0)
    return [((score - lowest) / spread if spread > 0 else 1.0) / list_count for score in scores]
