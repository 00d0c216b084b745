"""From an index and the changes since it was built to the next one: as much as possible is taken over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np

from domain import Ids, Vectors
from half_precision import LowerHalves, UpperHalves, joined, largest_error, split, widened
from loaded_index import HNSW_LINKS, LoadedIndex, Precision

MAX_DEAD_SHARE = 0.2
HNSW_BUILD_DEPTH = 100
BUILD_SLICE = 2000
DEPTHS = (64, 100, 150, 200, 300, 400)
RECALL_SAMPLE, RECALL_AT = 64, 10


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
    def joined(cls, parts: list[Rows]) -> Rows:
        """The rows of one part or more, in their order. Empties the list: all of it twice would be a build's peak."""
        if len(parts) == 1:
            return parts.pop()
        error = max(part.error for part in parts)
        ids, uppers, lowers = (list(each) for each in zip(*((p.ids, p.upper, p.lower) for p in parts), strict=True))
        parts.clear()
        upper = np.concatenate(uppers)
        uppers.clear()
        return cls(np.concatenate(ids), upper, np.concatenate(lowers), error)

    def ascending(self) -> Rows:
        """The rows by their ids."""
        if (self.ids[1:] > self.ids[:-1]).all():
            return self
        order = np.argsort(self.ids)
        return Rows(self.ids[order], self.upper[order], self.lower[order], self.error)

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
    count = base.live_count + len(added.ids)
    is_graph = count > kinds.exact_up_to
    if is_graph and base.precision and not base.is_exact and base.live_count >= (1 - MAX_DEAD_SHARE) * len(base.ids):
        return _grown(base, base.precision, added, kinds, check=check)
    rows = Rows.joined([_live_rows(base), added] if base.live_count else [added]).ascending()
    if not is_graph and count <= kinds.full_up_to:
        return Built(LoadedIndex(_flat_index(rows.vectors()), rows.ids), None)
    index = _half_index(base.index.d, is_graph=is_graph)
    _add_halves(index, rows.upper, check=check)
    precision = _precision(index, rows.lower, rows.error, kinds)
    return Built(LoadedIndex(index, rows.ids, precision=precision), rows.lower)


def _grown(base: LoadedIndex, precision: Precision, added: Rows, kinds: Kinds, *, check: Callable[[], None]) -> Built:
    """The graph of *base* with the rows *added*. Dead rows stay in it."""
    ids = np.concatenate([base.ids, added.ids])
    is_alive = np.concatenate([base.is_alive(), np.ones(len(added.ids), np.bool_)])
    lower = np.concatenate([precision.read_lower(np.arange(len(base.ids))), added.lower])
    _add_halves(base.index, added.upper, check=check)
    grown = _precision(base.index, lower, max(precision.error, added.error), kinds)
    return Built(LoadedIndex(base.index, ids, precision=grown, is_alive=is_alive), lower)


def _live_rows(base: LoadedIndex) -> Rows:
    positions = np.flatnonzero(base.is_alive())
    ids = base.ids[positions]
    if base.precision is None:
        return Rows.of(ids, base.index.reconstruct_batch(positions))
    return Rows(ids, base.upper[positions], base.precision.read_lower(positions), base.precision.error)


def _precision(index: faiss.Index, lower: LowerHalves, error: float, kinds: Kinds) -> Precision:
    depth = _measured_depth(index, recall=kinds.recall)
    return Precision(read_lower=lower.__getitem__, error=error, depth=depth, lower_bytes=lower.nbytes)


def _flat_index(vectors: Vectors) -> faiss.Index:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def _half_index(dimension: int, *, is_graph: bool) -> faiss.Index:
    """An empty index of upper halves."""
    kind = faiss.ScalarQuantizer.QT_bf16
    if not is_graph:
        return faiss.IndexScalarQuantizer(dimension, kind, faiss.METRIC_INNER_PRODUCT)
    index = faiss.IndexHNSWSQ(dimension, kind, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = HNSW_BUILD_DEPTH
    index.is_trained = True
    return index


def _add_halves(index: faiss.Index, upper: UpperHalves, *, check: Callable[[], None]) -> None:
    """*check* is called repeatedly and may raise."""
    for start in range(0, len(upper), BUILD_SLICE):
        check()
        index.add(widened(upper[start : start + BUILD_SLICE]))


def _measured_depth(index: faiss.Index, *, recall: float) -> int:
    """The least depth of a graph's search that finds this share of the ten nearest rows; 0 for an index without one.

    Asks for the middle of two random rows each time, which is farther from all rows than a row itself.
    """
    if not isinstance(index, faiss.IndexHNSW):
        return 0
    random = np.random.default_rng(index.ntotal)
    storage = faiss.downcast_index(index.storage)
    first, second = random.integers(0, index.ntotal, (2, RECALL_SAMPLE))
    queries = storage.reconstruct_batch(first) + storage.reconstruct_batch(second)
    faiss.normalize_L2(queries)
    nearest = storage.search(queries, RECALL_AT)[1]
    for depth in DEPTHS[:-1]:
        rows = index.search(queries, RECALL_AT, params=faiss.SearchParametersHNSW(efSearch=depth))[1]
        if np.mean([np.isin(*pair).mean() for pair in zip(nearest, rows, strict=True)]) >= recall:
            return depth
    return DEPTHS[-1]
