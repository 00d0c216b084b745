"""The only user of FAISS: builds an index, keeps it in memory with tombstones, and searches it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read by OpenMP when FAISS loads: spinning costs 4 ms a write

import faiss
import numpy as np
from numpy.typing import NDArray

from domain import Ids, Vectors

Scores = NDArray[np.float32]
Positions = NDArray[np.int64]

HNSW_LINKS = 32
HNSW_BUILD_DEPTH = 200
HNSW_SEARCH_DEPTH = 200
BUILD_SLICE = 2000
QUERIES_WORTH_A_PRODUCT = 3
SPARE_HITS = 32
CACHED_FILTERS = 4
LOOKUP_FACTOR = 64
CORES = len(os.sched_getaffinity(0))
COMPARISONS_PER_STEP = 64
"""Approximate number of vectors that a graph search compares per step: twice its links."""


def built_index(vectors: Vectors, *, is_graph: bool, check: Callable[[], None]) -> memoryview:
    """A serialized index of unit vectors. *check* is called repeatedly and may raise."""
    count, dimension = vectors.shape
    index = faiss.IndexFlatIP(dimension)
    if is_graph:
        index = faiss.IndexHNSWFlat(dimension, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = HNSW_BUILD_DEPTH
    for start in range(0, count, BUILD_SLICE):
        check()
        index.add(vectors[start : start + BUILD_SLICE])
    content: memoryview = faiss.serialize_index(index).data
    return content


class LoadedIndex:
    """*ids* are the chunk ids of the index's rows, ascending; a row's position is that of its id."""

    def __init__(self, index: faiss.Index, ids: Ids) -> None:
        self.ids = ids
        self.index = index
        self._dead_count = 0
        self._alive = np.empty(0, np.uint8)  # one bit per row; empty while all are alive
        self._position_cache: deque[tuple[Ids, Positions]] = deque(maxlen=CACHED_FILTERS)

    @classmethod
    def empty(cls, dimension: int) -> LoadedIndex:
        return cls(faiss.IndexFlatIP(dimension), np.empty(0, np.int64))

    @classmethod
    def read(cls, content: NDArray[np.uint8], ids: Ids) -> LoadedIndex:
        """Deserializes the bytes of built_index(). Raises RuntimeError if FAISS cannot read them."""
        return cls(faiss.deserialize_index(content), ids)

    @property
    def is_exact(self) -> bool:
        return not isinstance(self.index, faiss.IndexHNSW)

    @property
    def live_count(self) -> int:
        return len(self.ids) - self._dead_count

    @property
    def nbytes(self) -> int:
        graph = 0 if self.is_exact else 8 * HNSW_LINKS
        dimension: int = self.index.d
        return len(self.ids) * (4 * dimension + 8 + graph)

    def is_alive(self) -> NDArray[np.bool_]:
        if not self._dead_count:
            return np.ones(len(self.ids), np.bool_)
        return np.unpackbits(self._alive, count=len(self.ids), bitorder="little").astype(np.bool_)

    def vectors(self) -> Vectors:
        """The vectors of the live rows."""
        if not len(self.ids):
            return np.empty((0, self.index.d), np.float32)
        vectors: Vectors = self.index.reconstruct_n(0, len(self.ids))[self.is_alive()]
        return vectors

    def mark_dead(self, dead: Ids) -> None:
        positions = self._positions(dead)
        if len(positions):
            alive = self.is_alive()
            alive[positions] = False
            self._dead_count = len(alive) - int(alive.sum())
            self._alive = np.packbits(alive, bitorder="little")
            self._position_cache.clear()

    def search(self, queries: Vectors, k: int, allowed: Ids | None) -> tuple[Scores, Ids, bool]:
        """Scores and ids, shape ``(n, k')``, and whether they are exact.

        FAISS itself skips dead rows and those that are not *allowed*, so the lists are full.
        """
        faiss.omp_set_num_threads(1)  # for the calling thread; the other cores serve other requests
        # FAISS counts queries times dimension here; its own 128000 scans once per query, for 16 queries 16 times.
        faiss.cvar.distance_compute_blas_threshold = QUERIES_WORTH_A_PRODUCT * self.index.d
        allowed_rows = None if allowed is None else self._allowed_positions(allowed)
        available = self.live_count if allowed_rows is None else len(allowed_rows)
        k = min(k, available)
        if k == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), True
        if allowed_rows is not None and (self.is_exact or self._is_worth_comparing(allowed_rows)):
            compare = partial(self._compare, queries, positions=allowed_rows)
            (scores, rows), is_exact = _break_ties(compare, k, available), True
        elif self.is_exact:
            (scores, rows), is_exact = _break_ties(partial(self._scan, queries), k, available), True
        else:
            (scores, rows), is_exact = self._walk(queries, k, allowed_rows), False
        return scores, self.ids[rows], is_exact

    def _is_worth_comparing(self, positions: Positions) -> bool:
        """Whether comparing these rows costs no more than a graph search, which slows down as fewer are allowed."""
        return len(positions) <= COMPARISONS_PER_STEP * HNSW_SEARCH_DEPTH * len(self.ids) / len(positions)

    def _positions(self, ids: Ids) -> Positions:
        """The positions of those *ids* (ascending) that the index has."""
        if len(ids) * LOOKUP_FACTOR > len(self.ids):
            return np.flatnonzero(np.isin(self.ids, ids, assume_unique=True))
        positions: Positions = np.searchsorted(self.ids, ids)
        is_present: NDArray[np.bool_] = self.ids[np.minimum(positions, len(self.ids) - 1)] == ids
        return positions[is_present]

    def _allowed_positions(self, allowed: Ids) -> Positions:
        """The positions of live rows among *allowed*, cached by array identity: filters repeat."""
        for ids, positions in self._position_cache:
            if ids is allowed:
                return positions
        positions = self._positions(allowed)
        positions = positions[self.is_alive()[positions]] if self._dead_count else positions
        self._position_cache.append((allowed, positions))
        return positions

    def _compare(self, queries: Vectors, k: int, positions: Positions) -> tuple[Scores, Positions]:
        """Compares the vectors at these positions one by one."""
        vectors = self.index if self.is_exact else faiss.downcast_index(self.index.storage)
        parameters = faiss.SearchParameters(sel=faiss.IDSelectorArray(positions))
        result: tuple[Scores, Positions] = vectors.search(queries, k, params=parameters)
        return result

    def _walk(self, queries: Vectors, k: int, positions: Positions | None) -> tuple[Scores, Positions]:
        """Graph search, deeper if fewer rows are allowed. Compares every vector if the filter disconnects the graph."""
        depth, selector = max(HNSW_SEARCH_DEPTH, 2 * k), None
        if positions is not None:
            depth = depth * len(self.ids) // len(positions)
            selector = faiss.IDSelectorBitmap(self._bitmap(positions))
        elif self._dead_count:
            selector = faiss.IDSelectorBitmap(self._alive)
        if len(queries) > 1:  # each by one thread: unlike a matrix product, the scores do not depend on their number
            faiss.omp_set_num_threads(min(len(queries), CORES))
        scores, rows = self.index.search(queries, k, params=faiss.SearchParametersHNSW(efSearch=depth, sel=selector))
        if (rows < 0).any():
            storage = faiss.downcast_index(self.index.storage)
            scores, rows = storage.search(queries, k, params=faiss.SearchParameters(sel=selector))
        return scores, rows

    def _bitmap(self, positions: Positions) -> NDArray[np.uint8]:
        is_allowed = np.zeros(len(self.ids), np.bool_)
        is_allowed[positions] = True
        return np.packbits(is_allowed, bitorder="little")

    def _scan(self, queries: Vectors, k: int) -> tuple[Scores, Positions]:
        """Several queries are one matrix product, but not under a selector: search for more and skip the dead rows."""
        selector = faiss.IDSelectorBitmap(self._alive) if self._dead_count else None
        one_by_one = faiss.SearchParameters(sel=selector)
        if selector is None or len(queries) < QUERIES_WORTH_A_PRODUCT:
            result: tuple[Scores, Positions] = self.index.search(queries, k, params=one_by_one)
            return result
        scores, positions = self.index.search(queries, min(k + SPARE_HITS, len(self.ids)))
        is_alive = self.is_alive()[positions]
        if is_alive.sum(axis=1).min() < k:
            return self.index.search(queries, k, params=one_by_one)  # type: ignore[no-any-return]
        order = np.argsort(~is_alive, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)


def _break_ties(search: Callable[[int], tuple[Scores, Positions]], k: int, max_depth: int) -> tuple[Scores, Positions]:
    """The *k* best; ties go to the lowest position, whatever *k* is. FAISS breaks them arbitrarily."""
    depth = min(k + 1, max_depth)
    scores, positions = search(depth)
    while depth < max_depth and (scores[:, -1] == scores[:, k - 1]).any():
        depth = min(4 * depth, max_depth)
        scores, positions = search(depth)
    order = np.lexsort((positions, -scores), axis=-1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)
