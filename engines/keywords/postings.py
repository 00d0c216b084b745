"""The postings of a word: which chunks of a namespace hold it, how often, and how long these chunks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain import Ids
from engines.keywords.lexemes import BUCKETS, ids_and_lengths

LENGTHS = 1 << 10
"""A chunk's length in words is below this: posting() truncates it."""

ENTRY_BYTES = 6


@dataclass(frozen=True, slots=True)
class Postings:
    """*ids* ascend. A *code* is the length of the chunk, plus LENGTHS for each bucket below that of the frequency."""

    ids: NDArray[np.uint32]
    codes: NDArray[np.uint16]

    @classmethod
    def of(cls, buckets: Sequence[Ids]) -> Postings:
        """From the encoded postings of the word's lexemes, one array per bucket, each in any order."""
        ids, lengths = ids_and_lengths(np.concatenate(buckets))
        codes = lengths + LENGTHS * np.repeat(range(len(BUCKETS)), [len(bucket) for bucket in buckets])
        order = np.argsort(ids)
        return cls(ids[order].astype(np.uint32), codes[order].astype(np.uint16))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        return ENTRY_BYTES * len(self.ids)

    def replaced(self, first_id: int, tail: Postings) -> Postings:
        """With *tail* in place of all chunks from *first_id* on."""
        kept = int(np.searchsorted(self.ids, first_id))
        if kept == len(self.ids) and not len(tail):
            return self
        return Postings(np.concatenate([self.ids[:kept], tail.ids]), np.concatenate([self.codes[:kept], tail.codes]))

    def without(self, ids: Ids) -> Postings:
        """Without these chunks, which are few: *ids* ascend."""
        if not len(self.ids) or not len(ids):
            return self
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        places = places[self.ids[places] == ids]
        return Postings(np.delete(self.ids, places), np.delete(self.codes, places)) if len(places) else self

    def among(self, ids: Ids) -> Postings:
        """Those of these chunks alone."""
        kept = np.isin(self.ids, ids, assume_unique=True)
        return Postings(self.ids[kept], self.codes[kept])
