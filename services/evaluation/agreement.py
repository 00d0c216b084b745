"""How much two rankings of the same query agree. Pure; no measure here says which ranking is the better one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PERSISTENCE = 0.9
"""The p of rank-biased overlap: the first ten ranks have 86 % of the weight."""

Ranked = Sequence[str]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two rankings, cut at k. *rank_shift* is None if they have nothing in common."""

    overlap: float
    jaccard: float
    rbo: float
    same_top: bool
    rank_shift: float | None

    @classmethod
    def of(cls, one: Ranked, other: Ranked, *, k: int) -> Agreement:
        one, other = one[:k], other[:k]
        shared, either = set(one) & set(other), set(one) | set(other)
        shifts = [abs(one.index(each) - other.index(each)) for each in shared]
        return cls(
            overlap=len(shared) / max(len(one), len(other)) if either else 1.0,
            jaccard=len(shared) / len(either) if either else 1.0,
            rbo=rank_biased_overlap(one, other),
            same_top=one[:1] == other[:1],
            rank_shift=sum(shifts) / len(shifts) if shifts else None,
        )


def rank_biased_overlap(one: Ranked, other: Ranked, p: float = PERSISTENCE) -> float:
    """Returns the extrapolated RBO, from 0 (nothing in common) to 1 (the same), of rankings without repetitions.

    Webber, Moffat and Zobel, "A similarity measure for indefinite rankings", 2010, equation 32: beyond the end of the
    shorter ranking its agreement is taken to go on as it was, and beyond that of the longer one both.
    """
    shorter, longer = sorted((one, other), key=len)
    s, l = len(shorter), len(longer)  # noqa: E741 - as the paper has them
    if s == 0:
        return float(l == 0)
    in_common = [len(set(shorter[:d]) & set(longer[:d])) for d in range(l + 1)]
    total = sum(in_common[d] / d * p**d for d in range(1, l + 1))
    total += sum(in_common[s] * (d - s) / (s * d) * p**d for d in range(s + 1, l + 1))
    beyond = (in_common[l] - in_common[s]) / l + in_common[s] / s
    return (1 - p) / p * total + beyond * p**l


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))]
