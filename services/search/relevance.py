"""Decides which passages have to do with a question: those above what unrelated questions reach. docs/decisions/0036.

What counts is the hybrid score, whatever the mode ranks by: far fewer passages are misjudged by meaning and words
together than by one of them. Words judge alone in mode keyword while the model is not at hand, which it does not need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MEANING_FLOOR = 0.45
"""Of a similarity, counted from what unrelated texts score with the model."""

_WORDS_FLOOR = 0.12
_ONE_WORD = 0.3
_HIGHEST_WORDS_FLOOR = 0.25


@dataclass(frozen=True, slots=True)
class Scale:
    """The scores that are worth 0 and 1 in a list, and the weight of its vote.

    *floor* is what an unrelated question may reach, on the scale from 0 to 1.
    """

    zero: float = 0.0
    one: float = 1.0
    weight: float = 1.0
    floor: float = 0.0

    @property
    def factor(self) -> float:
        """What a score contributes for each unit above *zero*."""
        return self.weight / (self.one - self.zero) if self.one > self.zero else 0.0


def words_floor(words: int) -> float:
    """The floor of BM25's share for a question of so many words, so that one of several does not suffice by itself.

    A chunk that has every word once has about 0.45, also if there is only one.
    """
    return min(_WORDS_FLOOR + _ONE_WORD / max(words, 1), _HIGHEST_WORDS_FLOOR)


def floor_of(scales: Sequence[Scale]) -> float:
    """The least score, as fuse() adds it from lists of these scales, of a passage that has to do with the question."""
    total = sum(scale.weight for scale in scales)
    return sum(scale.weight * scale.floor for scale in scales) / total if total else 0.0
