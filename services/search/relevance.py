"""Decides which passages have to do with a question: those above what unrelated questions reach. docs/decisions/0036.

What counts is the hybrid score, whatever the mode ranks by: far fewer passages are misjudged by meaning and words
together than by one of them. Words judge alone in mode keyword while the model is not at hand, which it does not need.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.search.fusing import RankedList

MEANING_FLOOR = 0.45
"""Of a similarity, counted from what unrelated texts score with the model."""

_WORDS_FLOOR = 0.12
_ONE_WORD = 0.3
_HIGHEST_WORDS_FLOOR = 0.25


def words_floor(words: int) -> float:
    """The floor of BM25's share for a question of so many words, so that one of several does not suffice by itself.

    A chunk that has every word once has about 0.45, also if there is only one.
    """
    return min(_WORDS_FLOOR + _ONE_WORD / max(words, 1), _HIGHEST_WORDS_FLOOR)


def floor_of(lists: Sequence[RankedList]) -> float:
    """The least score, as fuse() adds it, of a passage that has to do with the question."""
    total = sum(ranked.scale.weight for ranked in lists)
    return sum(ranked.scale.weight * ranked.scale.floor for ranked in lists) / total if total else 0.0
