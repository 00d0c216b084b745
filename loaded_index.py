"""The only user of FAISS: how an index is built, kept in memory with its dead, and searched."""

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
Places = NDArray[np.int64]

HNSW_LINKS = 32
HNSW_BUILD_DEPTH = 200
HNSW_SEARCH_DEPTH = 200
BUILD_SLICE = 2000
QUERIES_WORTH_A_PRODUCT = 3
SPARE = 32
REMEMBERED = 4
FEW = 64
COMPARED_PER_STEP = 64
"""Vectors that a graph search compares for each of its steps, about: twice its links."""


def built_index(vectors: Vectors, *, is_graph: bool, check: Callable[[], None]) -> memoryview:
    """An index of unit vectors, as it is kept in a file. *check* is called on the way and may raise."""
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
    """*ids* are the numbers of the index's rows, ascending; a row's place is its position in them."""

    def __init__(self, index: faiss.Index, ids: Ids) -> None:
        self.ids = ids
        self.index = index
        self._dead_count = 0
        self._alive = np.empty(0, np.uint8)  # one bit per row; empty while all are alive
        self._remembered: deque[tuple[Ids, Places]] = deque(maxlen=REMEMBERED)

    @classmethod
    def empty(cls, dimension: int) -> LoadedIndex:
        return cls(faiss.IndexFlatIP(dimension), np.empty(0, np.int64))

    @classmethod
    def read(cls, content: NDArray[np.uint8], ids: Ids) -> LoadedIndex:
        """From what written() gave. Raises RuntimeError where FAISS does not understand it."""
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
        """Of the live rows."""
        if not len(self.ids):
            return np.empty((0, self.index.d), np.float32)
        found: Vectors = self.index.reconstruct_n(0, len(self.ids))[self.is_alive()]
        return found

    def bury(self, dead: Ids) -> None:
        places = self._places(dead)
        if len(places):
            alive = self.is_alive()
            alive[places] = False
            self._dead_count = len(alive) - int(alive.sum())
            self._alive = np.packbits(alive, bitorder="little")
            self._remembered.clear()

    def search(self, queries: Vectors, k: int, allowed: Ids | None) -> tuple[Scores, Ids, bool]:
        """Scores and ids, shape ``(n, k')``, and whether nothing nearer can have been missed.

        The dead and what is not *allowed* are passed over inside FAISS, so the lists are full.
        """
        faiss.omp_set_num_threads(1)  # of the calling thread; the other cores have other requests
        # FAISS counts queries times dimension here; its own 128000 scans once per query, for 16 queries 16 times.
        faiss.cvar.distance_compute_blas_threshold = QUERIES_WORTH_A_PRODUCT * self.index.d
        places = None if allowed is None else self._allowed_places(allowed)
        most = self.live_count if places is None else len(places)
        k = min(k, most)
        if k == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), True
        if places is not None and (self.is_exact or self._is_worth_comparing(places)):
            (scores, found), is_exact = _settled(partial(self._compare, queries, places=places), k, most), True
        elif self.is_exact:
            (scores, found), is_exact = _settled(partial(self._scan, queries), k, most), True
        else:
            (scores, found), is_exact = self._walk(queries, k, places), False
        return scores, self.ids[found], is_exact

    def _is_worth_comparing(self, places: Places) -> bool:
        """Do these few vectors cost no more than a walk along the graph, which is the longer the fewer are allowed?"""
        return len(places) <= COMPARED_PER_STEP * HNSW_SEARCH_DEPTH * len(self.ids) / len(places)

    def _places(self, ids: Ids) -> Places:
        """Where *ids*, which ascend, stand: those that are here."""
        if len(ids) * FEW > len(self.ids):
            return np.flatnonzero(np.isin(self.ids, ids, assume_unique=True))
        places: Places = np.searchsorted(self.ids, ids)
        is_here: NDArray[np.bool_] = self.ids[np.minimum(places, len(self.ids) - 1)] == ids
        return places[is_here]

    def _allowed_places(self, allowed: Ids) -> Places:
        """The places of the live ones among *allowed*; the last arrays are remembered, as they come again."""
        for ids, places in self._remembered:
            if ids is allowed:
                return places
        places = self._places(allowed)
        places = places[self.is_alive()[places]] if self._dead_count else places
        self._remembered.append((allowed, places))
        return places

    def _compare(self, queries: Vectors, k: int, places: Places) -> tuple[Scores, Places]:
        """The vectors in these places, and no others, one by one."""
        vectors = self.index if self.is_exact else faiss.downcast_index(self.index.storage)
        chosen = faiss.SearchParameters(sel=faiss.IDSelectorArray(places))
        found: tuple[Scores, Places] = vectors.search(queries, k, params=chosen)
        return found

    def _walk(self, queries: Vectors, k: int, places: Places | None) -> tuple[Scores, Places]:
        """Along the graph, the longer the fewer are allowed. Where it was cut apart: look at every vector."""
        depth, selector = max(HNSW_SEARCH_DEPTH, 2 * k), None
        if places is not None:
            depth = depth * len(self.ids) // len(places)
            selector = faiss.IDSelectorBitmap(self._bitmap(places))
        elif self._dead_count:
            selector = faiss.IDSelectorBitmap(self._alive)
        scores, found = self.index.search(queries, k, params=faiss.SearchParametersHNSW(efSearch=depth, sel=selector))
        if (found < 0).any():
            everything = faiss.downcast_index(self.index.storage)
            scores, found = everything.search(queries, k, params=faiss.SearchParameters(sel=selector))
        return scores, found

    def _bitmap(self, places: Places) -> NDArray[np.uint8]:
        is_allowed = np.zeros(len(self.ids), np.bool_)
        is_allowed[places] = True
        return np.packbits(is_allowed, bitorder="little")

    def _scan(self, queries: Vectors, k: int) -> tuple[Scores, Places]:
        """Several queries are one matrix product, but not under a selector: ask for more and pass over the dead."""
        alive = faiss.IDSelectorBitmap(self._alive) if self._dead_count else None
        one_by_one = faiss.SearchParameters(sel=alive)
        if alive is None or len(queries) < QUERIES_WORTH_A_PRODUCT:
            found: tuple[Scores, Places] = self.index.search(queries, k, params=one_by_one)
            return found
        scores, places = self.index.search(queries, min(k + SPARE, len(self.ids)))
        is_alive = self.is_alive()[places]
        if is_alive.sum(axis=1).min() < k:
            return self.index.search(queries, k, params=one_by_one)  # type: ignore[no-any-return]
        kept = np.argsort(~is_alive, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, kept, 1), np.take_along_axis(places, kept, 1)


def _settled(ask: Callable[[int], tuple[Scores, Places]], k: int, most: int) -> tuple[Scores, Places]:
    """The *k* best. Of rows that are level the first come, however many are asked for; FAISS would take any."""
    asked = min(k + 1, most)
    scores, places = ask(asked)
    while asked < most and (scores[:, -1] == scores[:, k - 1]).any():
        asked = min(4 * asked, most)
        scores, places = ask(asked)
    order = np.lexsort((places, -scores), axis=-1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)
