"""Keeps a FAISS index in memory with tombstones, and searches it.

A small index holds float32 vectors and compares every one. A larger one holds their upper halves (half_precision.py),
and beyond INDEX_EXACT_UP_TO a graph over them; its few best candidates are ranked by the full vectors.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read by OpenMP when FAISS loads: spinning costs 4 ms a write

import faiss
import numpy as np
from numpy.typing import NDArray

from domain import Ids, Vectors
from half_precision import SUMMATION_ERROR, LowerHalves, UpperHalves, joined, widened

Scores = NDArray[np.float32]
Positions = NDArray[np.int64]
ReadLower = Callable[[Positions], LowerHalves]
"""The lower halves of the rows at these positions. Raises OSError."""

HNSW_LINKS = 32
QUERIES_WORTH_A_PRODUCT = 3
SPARE_HITS = 16
CACHED_FILTERS = 4
LOOKUP_FACTOR = 4
CORES = len(os.sched_getaffinity(0))
COMPARISONS_PER_STEP = 64
"""Approximate number of vectors that a graph search compares per step: twice its links."""


def write_index(index: faiss.Index, write: Callable[[bytes], object]) -> None:
    faiss.write_index(index, faiss.PyCallbackIOWriter(write, 1 << 20))


def read_index(content: NDArray[np.uint8], *, can_grow: bool) -> faiss.Index:
    """The index that write_index() wrote; it uses *content* in place, or a copy that can grow. Raises RuntimeError."""
    if can_grow:
        return faiss.deserialize_index(content)
    reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(content), len(content))
    index = faiss.read_index(reader, faiss.IO_FLAG_MMAP_IFC)
    index.referenced_objects = [content, reader]  # kept as long as the index
    return index


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How an index of upper halves is searched: *depth* of a graph, and the largest error of a score.

    *lower_bytes* are those of the lower halves that are in memory.
    """

    read_lower: ReadLower
    error: float
    depth: int = 0
    lower_bytes: int = 0


class LoadedIndex:
    """*ids* are the chunk ids of the index's rows; a row's position is that of its id. They ascend but in a graph.

    *precision* is None for an index of full vectors. *is_alive* is None where all rows are.
    """

    def __init__(
        self,
        index: faiss.Index,
        ids: Ids,
        *,
        precision: Precision | None = None,
        is_alive: NDArray[np.bool_] | None = None,
    ) -> None:
        self.ids = ids
        self.index = index
        self.precision = precision
        self._dead_count = 0
        self._alive = np.empty(0, np.uint8)  # one bit per row; empty while all are alive
        self._position_cache: deque[tuple[Ids, Positions]] = deque(maxlen=CACHED_FILTERS)
        is_ascending = bool((ids[1:] > ids[:-1]).all())
        self._order: Positions | None = None if is_ascending else np.argsort(ids)
        if is_alive is not None:
            self._keep(is_alive)

    @classmethod
    def empty(cls, dimension: int) -> LoadedIndex:
        return cls(faiss.IndexFlatIP(dimension), np.empty(0, np.int64))

    @property
    def is_exact(self) -> bool:
        return not isinstance(self.index, faiss.IndexHNSW)

    @property
    def live_count(self) -> int:
        return len(self.ids) - self._dead_count

    @property
    def nbytes(self) -> int:
        """The memory that it holds, apart from what cached filters take."""
        return (
            self._index_bytes
            + self.ids.nbytes
            + self._alive.nbytes
            + (0 if self._order is None else self._order.nbytes)
            + (0 if self.precision is None else self.precision.lower_bytes)
        )

    @cached_property
    def _index_bytes(self) -> int:
        """FAISS's part: the vectors, and a graph's links, their offsets and the levels. Only a build changes it."""
        size: int = self._storage.ntotal * self._storage.code_size
        if not self.is_exact:
            graph = self.index.hnsw
            size += 4 * graph.neighbors.size() + 8 * graph.offsets.size() + 4 * graph.levels.size()
        return size

    def is_alive(self) -> NDArray[np.bool_]:
        if not self._dead_count:
            return np.ones(len(self.ids), np.bool_)
        return np.unpackbits(self._alive, count=len(self.ids), bitorder="little").astype(np.bool_)

    def vectors(self) -> Vectors:
        """The vectors of the live rows."""
        return self._vectors_at(np.flatnonzero(self.is_alive()))[0]

    def mark_dead(self, dead: Ids) -> None:
        positions = self._positions(dead)
        if len(positions):
            is_alive = self.is_alive()
            is_alive[positions] = False
            self._keep(is_alive)
            self._position_cache.clear()

    def search(self, queries: Vectors, k: int, allowed: Ids | None) -> tuple[Scores, Ids, bool]:
        """Scores and ids, shape ``(n, k')``, best first, and whether they are exact.

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
        walks = not self.is_exact and (allowed_rows is None or not self._is_worth_comparing(allowed_rows))
        find = partial(self._walk if walks else self._scan, queries, rows=allowed_rows)
        candidates = self._candidates(find, k, available, is_complete=not walks)
        scores, rows, is_restored = self._ranked(queries, *candidates, k)
        return scores, self.ids[rows], is_restored and not walks

    def _candidates(
        self, find: Callable[[int], tuple[Scores, Positions]], k: int, available: int, *, is_complete: bool
    ) -> tuple[Scores, Positions]:
        """Enough rows, by FAISS's scores, that the *k* best and all that tie with them are among them."""
        spare = max(SPARE_HITS, k // 2) if is_complete else SPARE_HITS  # scanning twice costs more than a longer list
        depth = min(k + spare, available)
        scores, rows = find(depth)
        while is_complete and depth < available and (scores[:, -1] >= scores[:, k - 1] - 2 * self.error).any():
            depth = min(4 * depth, available)
            scores, rows = find(depth)
        return scores, rows

    def _ranked(self, queries: Vectors, scores: Scores, rows: Positions, k: int) -> tuple[Scores, Positions, bool]:
        """The *k* best by their full vectors; ties go to the lowest id, where FAISS breaks them arbitrarily.

        If the lower halves cannot be read, by the upper ones: the last value says whether they could.
        """
        is_candidate = scores >= scores[:, k - 1 : k] - 2 * self.error
        rank, is_restored = np.full_like(scores, -np.inf), True
        for query, number in zip(queries, range(len(queries)), strict=True):
            chosen = is_candidate[number]
            vectors, are_full = self._vectors_at(rows[number, chosen])
            rank[number, chosen], is_restored = dot_products(vectors, query), is_restored and are_full
        best, every = np.lexsort((self.ids[rows], -rank), axis=-1)[:, :k], np.arange(len(queries))[:, np.newaxis]
        return rank[every, best], rows[every, best], is_restored

    def _vectors_at(self, positions: Positions) -> tuple[Vectors, bool]:
        """The full vectors of these rows and True, or if the lower halves cannot be read, the upper ones and False."""
        if self.precision is None:
            return self.index.reconstruct_batch(positions), True
        upper = widened(self.upper[positions])
        try:
            return joined(upper, self.precision.read_lower(positions)), True
        except OSError:
            return upper, False

    @cached_property
    def _storage(self) -> faiss.Index:
        return self.index if self.is_exact else faiss.downcast_index(self.index.storage)

    @cached_property
    def upper(self) -> UpperHalves:
        """The upper halves of all rows, in FAISS's own memory."""
        size = self._storage.ntotal * self._storage.code_size
        codes: NDArray[np.uint8] = faiss.rev_swig_ptr(self._storage.codes.data(), size)
        return codes.view(np.uint16).reshape(-1, self.index.d)

    @property
    def depth(self) -> int:
        return self.precision.depth if self.precision is not None else 0

    @property
    def error(self) -> float:
        return self.precision.error if self.precision is not None else SUMMATION_ERROR

    def _keep(self, is_alive: NDArray[np.bool_]) -> None:
        self._dead_count = len(is_alive) - int(is_alive.sum())
        self._alive = np.packbits(is_alive, bitorder="little")

    def similarities(self, query: NDArray[np.float32], ids: Ids) -> tuple[Ids, Scores]:
        """Those of *ids* (ascending) that the index has, and their scores. Also of dead rows: the caller knows."""
        positions = self._positions(ids) if len(self.ids) else np.empty(0, np.int64)
        return self.ids[positions], dot_products(self._vectors_at(positions)[0], query)

    def _is_worth_comparing(self, positions: Positions) -> bool:
        """Whether comparing these rows costs no more than a graph search, which slows down as fewer are allowed."""
        return len(positions) <= COMPARISONS_PER_STEP * self.depth * len(self.ids) / len(positions)

    def _positions(self, ids: Ids) -> Positions:
        """The positions of those *ids* (ascending) that the index has, ascending."""
        if len(ids) * LOOKUP_FACTOR > len(self.ids):
            return np.flatnonzero(np.isin(self.ids, ids, assume_unique=True))
        places: Positions = np.searchsorted(self.ids, ids, sorter=self._order)
        places = np.minimum(places, len(self.ids) - 1)
        positions = places if self._order is None else self._order[places]
        is_present: NDArray[np.bool_] = self.ids[positions] == ids
        return np.sort(positions[is_present])

    def _allowed_positions(self, allowed: Ids) -> Positions:
        """The positions of live rows among *allowed*, cached by array identity: filters repeat."""
        for ids, positions in self._position_cache:
            if ids is allowed:
                return positions
        positions = self._positions(allowed)
        positions = positions[self.is_alive()[positions]] if self._dead_count else positions
        self._position_cache.append((allowed, positions))
        return positions

    def _walk(self, queries: Vectors, k: int, rows: Positions | None) -> tuple[Scores, Positions]:
        """Graph search, deeper if fewer rows are allowed. Compares every vector if the filter disconnects the graph."""
        depth = max(self.depth, 2 * k)
        if rows is not None:
            depth = depth * len(self.ids) // len(rows)
        if len(queries) > 1:  # each by one thread: unlike a matrix product, the scores do not depend on their number
            faiss.omp_set_num_threads(min(len(queries), CORES))
        parameters = faiss.SearchParametersHNSW(efSearch=depth, sel=self._selector(rows))
        scores, positions = self.index.search(queries, k, params=parameters)
        return self._scan(queries, k, rows) if (positions < 0).any() else (scores, positions)

    def _scan(self, queries: Vectors, k: int, rows: Positions | None) -> tuple[Scores, Positions]:
        """Compares every row that is alive, or those *rows*.

        Several queries are one matrix product over full vectors, but not under a selector: search for more and skip the
        dead rows.
        """
        selector = self._selector(rows)
        one_by_one = partial(self._storage.search, queries, params=faiss.SearchParameters(sel=selector))
        if selector is None or rows is not None or self.precision or len(queries) < QUERIES_WORTH_A_PRODUCT:
            result: tuple[Scores, Positions] = one_by_one(k=k)
            return result
        scores, positions = self._storage.search(queries, min(k + SPARE_HITS, len(self.ids)))
        is_alive = self.is_alive()[positions]
        if is_alive.sum(axis=1).min() < k:
            return one_by_one(k=k)  # type: ignore[no-any-return]
        order = np.argsort(~is_alive, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)

    def _selector(self, rows: Positions | None) -> faiss.IDSelector | None:
        """Full vectors are looked up one by one, others are tested against a bitmap while FAISS passes over them."""
        if rows is None:
            return faiss.IDSelectorBitmap(self._alive) if self._dead_count else None
        if self.precision is None:
            return faiss.IDSelectorArray(rows)
        is_allowed = np.zeros(len(self.ids), np.bool_)
        is_allowed[rows] = True
        return faiss.IDSelectorBitmap(np.packbits(is_allowed, bitorder="little"))


def dot_products(vectors: Vectors, query: NDArray[np.float32]) -> Scores:
    """On the calling thread alone: BLAS would wait for a second one, for milliseconds where all cores are busy."""
    products: Scores = np.einsum("ij,j->i", vectors, query)
    return products
