"""Many lists of hits into one. Each list has the same say, so the sides of a hybrid search count half and half.

Min-max of scores (Lee, "Analyses of Multiple Evidence Combination", 1997) beat reciprocal ranks (Cormack and others,
2009) on every collection that was measured: a side that knows nothing spreads its ranks as confidently as one that
does, but not its scores. docs/decisions/0016.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from domain import Hit
from services.search.question import FoundBy, Fusion, Side

CANDIDATES = 200
"""How many of each list are fused, or as many as are asked for if that is more."""

_RANK_CONSTANT = 60


@dataclass(frozen=True, slots=True)
class Ranked:
    """The hits of one side for one question, best first."""

    side: Side
    query: int
    hits: Sequence[Hit]


@dataclass(frozen=True, slots=True)
class Candidate:
    faiss_id: int
    score: float
    found_by: tuple[FoundBy, ...]


def fused(lists: Sequence[Ranked], how: Fusion) -> list[tuple[int, float]]:
    """Ids and scores, best first. A single list keeps its scores."""
    shares: dict[int, float] = defaultdict(float)
    for ranked in lists:
        for hit, share in zip(ranked.hits, _shares(ranked.hits, len(lists), how), strict=True):
            shares[hit.faiss_id] += share
    return sorted(shares.items(), key=lambda each: (-each[1], each[0]))


def explained(lists: Sequence[Ranked], best: Sequence[tuple[int, float]]) -> list[Candidate]:
    """With the places that the lists gave them."""
    found_by: dict[int, list[FoundBy]] = {faiss_id: [] for faiss_id, _ in best}
    for ranked in lists:
        for rank, hit in enumerate(ranked.hits, 1):
            if hit.faiss_id in found_by:
                found_by[hit.faiss_id].append(FoundBy(ranked.side, ranked.query, rank, hit.score))
    return [Candidate(faiss_id, score, tuple(found_by[faiss_id])) for faiss_id, score in best]


def _shares(hits: Sequence[Hit], lists: int, how: Fusion) -> list[float]:
    """What each hit gets from its list; the best of all lists gets 1.0 in all."""
    if lists == 1:
        return [hit.score for hit in hits]
    if how == "reciprocal_rank":
        return [(_RANK_CONSTANT + 1) / (_RANK_CONSTANT + rank) / lists for rank in range(1, len(hits) + 1)]
    scores = [hit.score for hit in hits]
    lowest, spread = min(scores, default=0.0), max(scores, default=0.0) - min(scores, default=0.0)
    return [((score - lowest) / spread if spread > 0 else 1.0) / lists for score in scores]
