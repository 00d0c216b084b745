"""Owns faiss_indices/: nothing else reads or writes that folder.

Each file is a checkpoint: a partition at one seq. It is written once under a unique name and never changed, only
unlinked. The commit of the row that names it is the swap; a crash at any point leaves either the old name or the new,
and a complete file under each. Every file is verified before FAISS reads it: a flipped byte can crash FAISS or, worse,
silently give wrong neighbours.
"""

from __future__ import annotations

import hashlib
import math
import os
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, RLock

import numpy as np
from numpy.typing import NDArray

import index_file
from domain import BuildResult, Hit, Ids, Partition, Vectors
from errors import IndexStoreUnavailable
from index_building import Kinds, Rows, built_from
from loaded_index import LoadedIndex, dot_products


@dataclass(frozen=True, kw_only=True)
class Checkpoint(BuildResult):
    """A partition's file, as its row describes it. *name* is relative to the index folder.

    *grown_from* is the one that it was built from; None: it was written anew, or read from its row.
    """

    name: str
    checksum: str
    grown_from: Checkpoint | None = field(default=None, compare=False)


class OpenPartition:
    """A partition in memory: its checkpoint, the chunks published since (the tail), and tombstones for deleted ones.

    Readers hold *lock* from before the read transaction begins until the rows of the hits are fetched, so that the
    partition is never ahead of the transaction's snapshot.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.lock = RLock()
        self.checkpoint: Checkpoint | None = None
        self.damaged: Checkpoint | None = None  # a checkpoint that failed to load
        self.applied_seq = 0
        self.counted_bytes = 0  # the manager's, under its lock
        self._base = LoadedIndex.empty(dimension)
        self._tail_ids: Ids = np.empty(0, np.int64)
        self._tail_vectors: Vectors = np.empty((0, dimension), np.float32)
        self._tail_size = 0

    @property
    def is_exact(self) -> bool:
        return self._base.is_exact

    @property
    def live_count(self) -> int:
        return self._base.live_count + self._tail_size

    @property
    def nbytes(self) -> int:
        return self._base.nbytes + self._tail_vectors.nbytes

    def ids(self) -> Ids:
        """The ids of all searchable chunks, ascending."""
        return np.sort(self._unsorted_ids())

    def vectors(self) -> Vectors:
        """The vectors of ids(), in that order, as searches use them; for verification."""
        vectors = np.concatenate([self._base.vectors(), self._tail_vectors[: self._tail_size]])
        return vectors[np.argsort(self._unsorted_ids())]

    def start_from(self, checkpoint: Checkpoint, base: LoadedIndex) -> None:
        """Reset to the checkpoint, whose content is *base*."""
        self.checkpoint, self._base = checkpoint, base
        self.applied_seq = checkpoint.covered_seq
        self._forget_tail()

    def start_anew(self) -> None:
        """Forget everything, also the checkpoint."""
        self.checkpoint, self._base, self.applied_seq = None, LoadedIndex.empty(self.dimension), 0
        self._forget_tail()

    def _forget_tail(self) -> None:
        self._tail_ids, self._tail_size = np.empty(0, np.int64), 0
        self._tail_vectors = np.empty((0, self.dimension), np.float32)

    def apply(self, *, appeared: Ids, vectors: Vectors, disappeared: Ids, seq: int) -> None:
        """Apply the publications after *applied_seq*, up to *seq*.

        *vectors* belong to *appeared*, row by row. An id in both appeared and disappeared again: it is skipped.
        """
        is_kept = ~np.isin(appeared, disappeared)
        self._append(appeared[is_kept], vectors[is_kept])
        self._remove(disappeared)
        self.applied_seq = seq

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[list[list[Hit]], bool]:
        """The *k* nearest live chunks of each query, nearest first; fewer only if fewer are live and *allowed*.

        *queries* are unit vectors, shape ``(n, dimension)``; *allowed* are ids, ascending. Also returns whether the
        result is exact.
        """
        scores, ids, is_exact = self._base.search(queries, k, allowed)
        if self._tail_size:
            tail_scores, tail_ids = self._search_tail(queries, k, allowed)
            scores, ids = np.hstack([scores, tail_scores]), np.hstack([ids, tail_ids])
            order = np.lexsort((ids, -scores), axis=-1)[:, :k]
            scores, ids = np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
        hits = [list(zip(*row, strict=True)) for row in zip(ids.tolist(), scores.tolist(), strict=True)]
        return hits, is_exact

    def similarities(self, query: NDArray[np.float32], ids: Ids) -> dict[int, float]:
        """The cosine similarity of *query* with each of these chunks, whose *ids* are ascending."""
        ids_in_base, scores = self._base.similarities(query, ids)
        scores_by_id = dict(zip(ids_in_base.tolist(), scores.tolist(), strict=True))
        if self._tail_size:
            is_listed = np.isin(self._tail_ids[: self._tail_size], ids)
            tail_ids = self._tail_ids[: self._tail_size][is_listed]
            tail_scores = dot_products(self._tail_vectors[: self._tail_size][is_listed], query)
            scores_by_id.update(zip(tail_ids.tolist(), tail_scores.tolist(), strict=True))
        return scores_by_id

    def _unsorted_ids(self) -> Ids:
        return np.concatenate([self._base.ids[self._base.is_alive()], self._tail_ids[: self._tail_size]])

    def _append(self, ids: Ids, vectors: Vectors) -> None:
        end = self._tail_size + len(ids)
        if end > len(self._tail_ids):
            room = max(end, 2 * len(self._tail_ids), 64)
            self._tail_ids = np.resize(self._tail_ids, room)
            grown = np.empty((room, self.dimension), np.float32)
            grown[: self._tail_size] = self._tail_vectors[: self._tail_size]
            self._tail_vectors = grown
        self._tail_ids[self._tail_size : end] = ids
        self._tail_vectors[self._tail_size : end] = vectors
        self._tail_size = end

    def _remove(self, dead: Ids) -> None:
        if not len(dead):
            return
        is_kept = ~np.isin(self._tail_ids[: self._tail_size], dead)
        kept_count = int(is_kept.sum())
        if kept_count < self._tail_size:
            self._tail_vectors[:kept_count] = self._tail_vectors[: self._tail_size][is_kept]
            self._tail_ids[:kept_count] = self._tail_ids[: self._tail_size][is_kept]
            self._tail_size = kept_count
        self._base.mark_dead(np.sort(dead))

    def _search_tail(self, queries: Vectors, k: int, allowed: Ids | None) -> tuple[Vectors, Ids]:
        ids, vectors = self._tail_ids[: self._tail_size], self._tail_vectors[: self._tail_size]
        if allowed is not None:
            is_allowed = np.isin(ids, allowed, assume_unique=True)
            ids, vectors = ids[is_allowed], vectors[is_allowed]
        scores = queries @ vectors.T
        ids = np.broadcast_to(ids, scores.shape)
        if scores.shape[1] > k:
            best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
            kth_score = np.take_along_axis(scores, best, 1).min(axis=1, keepdims=True)
            if ((scores >= kth_score).sum(axis=1) > k).any():  # a tie at the cut: lower ids win
                best = np.lexsort((ids, -scores), axis=-1)[:, :k]
            scores, ids = np.take_along_axis(scores, best, 1), np.take_along_axis(ids, best, 1)
        return scores, ids


class IndexManager:
    """Builds, loads and sweeps checkpoints; caches open partitions, least recently used out first."""

    def __init__(self, root: Path, kinds: Kinds, *, memory_bytes: int) -> None:
        self.root = root
        self.kinds = kinds
        self.memory_bytes = memory_bytes
        self._open: OrderedDict[Partition, OpenPartition] = OrderedDict()
        self._bytes = 0  # of all that are open
        self._lock = Lock()

    @property
    def held_bytes(self) -> int:
        """Of all partitions that are open."""
        return self._bytes

    def require_folder(self) -> None:
        """Create the folder if it does not exist. Raises IndexStoreUnavailable."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(error) from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise IndexStoreUnavailable("INDEX_DIR cannot be written: check its owner and mode.")

    @contextmanager
    def partition(self, key: Partition, dimension: int) -> Iterator[OpenPartition]:
        """The partition in memory, locked; empty if it was not open. What it grew by may evict the least recently used.

        Costs the same however many are open.
        """
        partition = self._take(key, dimension)
        with partition.lock:
            try:
                yield partition
            finally:
                self._account(key, partition)

    def _take(self, key: Partition, dimension: int) -> OpenPartition:
        with self._lock:
            partition = self._open.get(key)
            if partition is None or partition.dimension != dimension:  # the version's name now stands for another model
                self._uncount(partition)
                partition = self._open[key] = OpenPartition(dimension)
            self._open.move_to_end(key)
            return partition

    def _account(self, key: Partition, partition: OpenPartition) -> None:
        if partition.nbytes == partition.counted_bytes:
            return
        with self._lock:
            if self._open.get(key) is not partition:
                return  # evicted meanwhile
            self._bytes += partition.nbytes - partition.counted_bytes
            partition.counted_bytes = partition.nbytes
            while self._bytes > self.memory_bytes and len(self._open) > 1:
                self._uncount(self._open.popitem(last=False)[1])

    def _uncount(self, partition: OpenPartition | None) -> None:
        if partition is not None:
            self._bytes -= partition.counted_bytes

    def build(
        self,
        partition: Partition,
        base: LoadedIndex,
        added: Rows,
        dead: Ids,
        *,
        covered_seq: int,
        check: Callable[[], None],
    ) -> Checkpoint:
        """Write a new file, durably, and return what its row must say. *check* is called repeatedly and may raise.

        Its content is that of *base*, which is used up, without the *dead* chunks and with those *added*.
        """
        built = built_from(base, added, dead, self.kinds, check=check)
        name = f"{_key(partition).hex()}/{covered_seq:012d}-{uuid.uuid4().hex[:12]}.faiss"
        try:
            checksum = index_file.write(self.root / name, _key(partition), built.index, built.lower)
        except OSError as error:
            raise _unusable(error) from error
        count, dimension = built.index.live_count, base.index.d
        return Checkpoint(name=name, checksum=checksum, covered_seq=covered_seq, ntotal=count, dimension=dimension)

    def has(self, checkpoint: Checkpoint) -> bool:
        return (self.root / checkpoint.name).exists()

    def load(self, partition: Partition, checkpoint: Checkpoint, *, can_grow: bool = False) -> LoadedIndex:
        """The content of a checkpoint. Raises DamagedIndex before FAISS sees a wrong byte."""
        expected = index_file.Expected(
            partition=_key(partition),
            checksum=bytes.fromhex(checkpoint.checksum),
            dimension=checkpoint.dimension,
            live_count=checkpoint.ntotal,
        )
        return index_file.read(self.root / checkpoint.name, expected, can_grow=can_grow)

    def sweep(self, partition: Partition, keep: Checkpoint | None) -> None:
        """Unlink the partition's files that are older than *keep*; all of them without it, as the partition is gone.

        Newer files stay: another worker may be about to commit their names.
        """
        oldest_kept = _written_at(self.root / keep.name) if keep else math.inf
        for path in (self.root / _key(partition).hex()).glob("*.*"):
            if _written_at(path) < oldest_kept:
                path.unlink(missing_ok=True)

    def files(self, partition: Partition) -> list[Path]:
        """Every file of the partition, named by its row or not."""
        return sorted((self.root / _key(partition).hex()).glob("*.*"))

    def discard(self, checkpoint: Checkpoint) -> None:
        """Unlink a file whose name was not committed."""
        (self.root / checkpoint.name).unlink(missing_ok=True)


def _key(partition: Partition) -> bytes:
    """A 32-byte digest, so that no path contains text from a tenant."""
    words = (str(partition.team_id), str(partition.project_id), partition.embedding_version)
    return hashlib.sha256("\x00".join(words).encode()).digest()


def _written_at(path: Path) -> float:
    """Seconds since 1970; 0 for a file that is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _unusable(error: OSError) -> IndexStoreUnavailable:
    return IndexStoreUnavailable(f"INDEX_DIR cannot be written: {error.strerror}. Searches go on without it.")
