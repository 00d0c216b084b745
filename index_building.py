"""From an index and the changes since it was built to the next one: as much as possible is taken over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain import Ids, Vectors
from half_precision import LowerHalves, UpperHalves, joined, largest_error, split, widened
from loaded_index import AnyIndex, LoadedIndex, Precision, add_halves, flat_index, half_index, measured_depth

MAX_DEAD_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Rows:
    """Chunks with their vectors in halves. *error* is the largest of a score computed from upper halves."""

    ids: Ids
    upper: UpperHalves
    lower: LowerHalves
    error: float = 0.0

    @classmethod
    def of(cls, ids: Ids, vectors: Vectors) -> Rows:
        upper, lower = split(vectors)
        return cls(ids, upper, lower, largest_error(vectors, upper))

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of one part or more, in their order."""
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.upper for part in parts]),
            np.concatenate([part.lower for part in parts]),
            max(part.error for part in parts),
        )

    def at(self, positions: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
        return Rows(self.ids[positions], self.upper[positions], self.lower[positions], self.error)

    def vectors(self) -> Vectors:
        return joined(widened(self.upper), self.lower)


@dataclass(frozen=True, slots=True)
class Kinds:
    """Which index is built for how many rows: full vectors, halves, or a graph that finds this share of the nearest."""

    full_up_to: int
    exact_up_to: int
    recall: float


@dataclass(frozen=True, slots=True)
class Built:
    """*lower* is None for an index of full vectors."""

    index: LoadedIndex
    lower: LowerHalves | None


def built_from(base: LoadedIndex, added: Rows, dead: Ids, kinds: Kinds, *, check: Callable[[], None]) -> Built:
    """The index of *base* without the *dead* chunks and with those *added*. *base* is used up.

    A graph grows, and keeps dead rows while they are few. *check* is called repeatedly and may raise.
    """
    base.mark_dead(dead)
    count, rows = base.live_count + len(added.ids), _rows_of(base)
    is_graph = count > kinds.exact_up_to
    if is_graph and not base.is_exact and base.live_count >= (1 - MAX_DEAD_SHARE) * len(base.ids):
        is_alive = np.concatenate([base.is_alive(), np.ones(len(added.ids), np.bool_)])
        add_halves(base.index, added.upper, check=check)
        return _of_halves(base.index, Rows.joined([rows, added]), kinds, is_alive)
    rows = Rows.joined([rows.at(base.is_alive()), added])
    rows = rows.at(np.argsort(rows.ids))
    if not is_graph and count <= kinds.full_up_to:
        return Built(LoadedIndex(flat_index(rows.vectors()), rows.ids), None)
    index = half_index(base.index.d, is_graph=is_graph)
    add_halves(index, rows.upper, check=check)
    return _of_halves(index, rows, kinds, None)


def _rows_of(base: LoadedIndex) -> Rows:
    """All rows, the dead ones too."""
    if base.precision is None:
        return Rows.of(base.ids, base.index.reconstruct_n(0, len(base.ids)))
    lower = base.precision.read_lower(np.arange(len(base.ids)))
    return Rows(base.ids, base.upper.copy(), lower, base.precision.error)


def _of_halves(index: AnyIndex, rows: Rows, kinds: Kinds, is_alive: NDArray[np.bool_] | None) -> Built:
    depth = measured_depth(index, recall=kinds.recall)
    precision = Precision(read_lower=rows.lower.__getitem__, error=rows.error, depth=depth)
    return Built(LoadedIndex(index, rows.ids, precision=precision, is_alive=is_alive), rows.lower)
