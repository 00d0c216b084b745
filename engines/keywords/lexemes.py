"""Encodes a chunk's words so that any inverted file provides the input of BM25, separately for each namespace.

A *lexeme* encodes the namespace, a word, and its frequency in the chunk, so a file that only knows which rows hold a
lexeme provides all three. A *posting* numbers a row: the chunk's id and its length in words.
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
"""Frequencies of a word in a chunk that are distinguished: 5 counts as 4, 20 as 8."""

_BUCKET = [bisect_right(BUCKETS, count) for count in range(BUCKETS[-1] + 1)]

MAX_BYTES = 1_000_000
"""Total size of a chunk's lexemes: a tsvector addresses 1 MiB, and array_to_tsvector() does not check."""

_LENGTH_BITS = 10
_ID_BITS = 32
_LONGEST = (1 << _LENGTH_BITS) - 1
_IN_PROJECT = (1 << (_ID_BITS + _LENGTH_BITS)) - 1


def lexeme_prefix(project: Project) -> str:
    """What distinguishes the namespace's lexemes from others'."""
    return f"{project.team_id}_{project.id}_"


def bucketed(prefix: str, words: Sequence[str]) -> list[tuple[str, int]]:
    """The words of a chunk and their buckets, counted from 1, truncated to what a row can hold."""
    counts = Counter(words)
    pairs = [(word, _BUCKET[min(count, BUCKETS[-1])]) for word, count in counts.items()]
    around = len(prefix) + 2
    if 4 * sum(map(len, counts)) + around * len(pairs) <= MAX_BYTES:  # no character takes more than four
        return pairs
    ends = list(accumulate(len(word.encode()) + around for word in counts))
    return pairs[: bisect_right(ends, MAX_BYTES)]


def lexemes(prefix: str, words: Sequence[str]) -> list[str]:
    """The lexemes of a chunk."""
    return [f"{prefix}{word}_{bucket}" for word, bucket in bucketed(prefix, words)]


def lexemes_of(prefix: str, word: str) -> list[str]:
    """The lexemes of a word, one per bucket."""
    return [f"{prefix}{word}_{number}" for number in range(1, len(BUCKETS) + 1)]


def posting(number: int, faiss_id: int, length: int) -> int:
    if faiss_id >> _ID_BITS:
        raise OverflowError(f"chunk {faiss_id} exceeds the ids that the keyword index can encode")
    return (number << _ID_BITS | faiss_id) << _LENGTH_BITS | min(length, _LONGEST)


def ids_and_lengths(postings: Ids) -> tuple[Ids, Ids]:
    own = np.bitwise_and(postings, _IN_PROJECT)
    return own >> _LENGTH_BITS, own & _LONGEST
