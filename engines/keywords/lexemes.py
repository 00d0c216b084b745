"""How a chunk's words are written so that any inverted file can hold what BM25 asks for, for each namespace apart.

A *lexeme* is the namespace, a word, and how often the chunk has it: a file that only knows which rows hold a lexeme
tells all of these. Rows are numbered by a *posting*: the chunk's id, and how many words it has.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from domain import Ids
from models import Project

BUCKETS = (1, 2, 3, 4, 6, 8)
"""How often a chunk has a word, as far as it is told apart: 5 times counts as 4, 20 times as 8."""

MOST_BYTES = 1_000_000
"""Of a chunk's lexemes together: a tsvector points into 1 MiB, and array_to_tsvector() does not look."""

_LENGTH_BITS = 10
_ID_BITS = 32
_LONGEST = (1 << _LENGTH_BITS) - 1
_IN_PROJECT = (1 << (_ID_BITS + _LENGTH_BITS)) - 1


def lexemes(project: Project, words: Sequence[str]) -> list[str]:
    """The first of them, where a row cannot hold all."""
    scope = _scope(project)
    written = [f"{scope}{word}_{bisect_right(BUCKETS, count)}" for word, count in Counter(words).items()]
    ends = list(accumulate(len(lexeme.encode()) for lexeme in written))
    return written[: bisect_right(ends, MOST_BYTES)]


def wanted(project: Project, word: str) -> list[str]:
    """The lexemes of a word, one per bucket."""
    return [f"{_scope(project)}{word}_{number}" for number in range(1, len(BUCKETS) + 1)]


def posting(number: int, faiss_id: int, length: int) -> int:
    if faiss_id >> _ID_BITS:
        raise OverflowError(f"chunk {faiss_id} is beyond what the keyword index can number")
    return (number << _ID_BITS | faiss_id) << _LENGTH_BITS | min(length, _LONGEST)


def ids_and_lengths(postings: Ids) -> tuple[Ids, Ids]:
    own = np.bitwise_and(postings, _IN_PROJECT)
    return own >> _LENGTH_BITS, own & _LONGEST


def _scope(project: Project) -> str:
    return f"{project.team_id}_{project.id}_"
