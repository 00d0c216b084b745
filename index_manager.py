"""The owner of faiss_indices/: nothing else reads or writes that folder.

A file in it is a checkpoint: a partition as it was at one sequence number. It is written once under a name of
its own and never changed, only unlinked. The commit of the row that names it is the swap; a crash at any point
leaves either the old name or the new, and a whole file under each. A file is never trusted unread: a flipped
byte can crash FAISS or, worse, give wrong neighbours silently.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, RLock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read by OpenMP when FAISS loads: spinning costs 4 ms a write

import faiss
import numpy as np
from numpy.typing import NDArray

from domain import Hit, Partition
from errors import DamagedIndex, IndexStoreUnavailable, MissingIndex

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]

MAGIC = b"AI3DFIX\x01"
HEADER = struct.Struct("<8s32sIIQQ32s")  # magic, partition, format, dimension, count, length of body, its SHA-256
FORMAT = 1
HNSW_LINKS = 32
HNSW_BUILD_DEPTH = 200
HNSW_SEARCH_DEPTH = 200
BUILD_SLICE = 2000
QUERIES_WORTH_A_PRODUCT = 3
SPARE = 32


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the row of a partition says of its file: *name* is relative to the folder of indices."""

    name: str
    checksum: str
    covered_seq: int
    ntotal: int
    dimension: int


class OpenPartition:
    """A partition in memory: its checkpoint, what came since (the tail), and what went (the dead).

    Whoever uses it holds *lock* from before the read transaction begins until the rows of the hits are
    fetched: then what is in memory is never ahead of the transaction's snapshot.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.lock = RLock()
        self.checkpoint: Checkpoint | None = None
        self.refused: Checkpoint | None = None  # the one that was damaged when somebody last looked
        self.seen_seq = 0
        self._base: faiss.Index | None = None
        self._base_ids: Ids = np.empty(0, np.int64)
        self._base_dead = 0
        self._alive = np.empty(0, np.uint8)  # one bit per vector of the base; empty while all are alive
        self._tail_ids: Ids = np.empty(0, np.int64)
        self._tail_vectors: Vectors = np.empty((0, dimension), np.float32)
        self._tail_size = 0

    @property
    def is_exact(self) -> bool:
        return not isinstance(self._base, faiss.IndexHNSW)

    @property
    def live_count(self) -> int:
        return len(self._base_ids) - self._base_dead + self._tail_size

    @property
    def nbytes(self) -> int:
        graph = 0 if self.is_exact else 8 * HNSW_LINKS * len(self._base_ids)
        return len(self._base_ids) * (4 * self.dimension + 8) + graph + self._tail_vectors.nbytes

    def ids(self) -> Ids:
        """The numbers of all chunks that a search can find, ascending."""
        return np.sort(np.concatenate([self._base_ids[self._is_alive()], self._tail_ids[: self._tail_size]]))

    def vectors(self) -> Vectors:
        """The vectors of ids(), in that order: what is really searched, for whoever compares."""
        base = np.empty((0, self.dimension), np.float32)
        if self._base is not None and len(self._base_ids):
            base = self._base.reconstruct_n(0, len(self._base_ids))[self._is_alive()]
        ids = np.concatenate([self._base_ids[self._is_alive()], self._tail_ids[: self._tail_size]])
        return np.concatenate([base, self._tail_vectors[: self._tail_size]])[np.argsort(ids)]

    def start_from(self, checkpoint: Checkpoint, base: faiss.Index, ids: Ids) -> None:
        """Forget everything and stand where the checkpoint stands. *ids* are those of the rows of *base*."""
        self.checkpoint, self._base, self._base_ids = checkpoint, base, ids
        self.seen_seq = checkpoint.covered_seq
        self._base_dead, self._alive = 0, np.empty(0, np.uint8)
        self._tail_ids, self._tail_size = np.empty(0, np.int64), 0
        self._tail_vectors = np.empty((0, self.dimension), np.float32)

    def apply(self, *, appeared: Ids, vectors: Vectors, disappeared: Ids, seq: int) -> None:
        """Take over what was published after *seen_seq*, up to *seq*.

        *vectors* are those of *appeared*, row by row. An id that is in both came and went: it is not kept.
        """
        is_kept = ~np.isin(appeared, disappeared)
        self._append(appeared[is_kept], vectors[is_kept])
        self._bury(disappeared)
        self.seen_seq = seq

    def search(self, queries: Vectors, k: int) -> list[list[Hit]]:
        """The *k* nearest live chunks of each query, nearest first; fewer only if fewer are live.

        *queries* are unit vectors, shape ``(n, dimension)``.
        """
        k = min(k, self.live_count)
        if k == 0:
            return [[] for _ in queries]
        base_scores, base_ids = self._search_base(queries, k)
        tail_scores, tail_ids = self._search_tail(queries, k)
        scores, ids = np.hstack([base_scores, tail_scores]), np.hstack([base_ids, tail_ids])
        order = np.lexsort((ids, -scores), axis=-1)[:, :k]
        scores, ids = np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
        return [
            [Hit(i, score) for i, score in zip(*row, strict=True)]
            for row in zip(ids.tolist(), scores.tolist(), strict=True)
        ]

    def _is_alive(self) -> NDArray[np.bool_]:
        """Of each row of the base, whether its chunk is still live."""
        if not self._base_dead:
            return np.ones(len(self._base_ids), np.bool_)
        return np.unpackbits(self._alive, count=len(self._base_ids), bitorder="little").astype(np.bool_)

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

    def _bury(self, dead: Ids) -> None:
        if not len(dead):
            return
        is_kept = ~np.isin(self._tail_ids[: self._tail_size], dead)
        kept = int(is_kept.sum())
        if kept < self._tail_size:
            self._tail_vectors[:kept] = self._tail_vectors[: self._tail_size][is_kept]
            self._tail_ids[:kept] = self._tail_ids[: self._tail_size][is_kept]
            self._tail_size = kept
        places = np.searchsorted(self._base_ids, dead)
        places = places[places < len(self._base_ids)]
        places = places[np.isin(self._base_ids[places], dead)]
        if len(places):
            alive = self._is_alive()
            alive[places] = False
            self._base_dead = len(alive) - int(alive.sum())
            self._alive = np.packbits(alive, bitorder="little")

    def _search_base(self, queries: Vectors, k: int) -> tuple[NDArray[np.float32], Ids]:
        """Scores and ids, shape ``(n, k')``; the dead are passed over inside FAISS, so the lists are full."""
        k = min(k, len(self._base_ids) - self._base_dead)
        if self._base is None or k == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        faiss.omp_set_num_threads(1)  # of the calling thread; the other cores have other requests
        # FAISS counts queries times dimension here; its own 128000 scans once per query, for 16 queries 16 times.
        faiss.cvar.distance_compute_blas_threshold = QUERIES_WORTH_A_PRODUCT * self.dimension
        alive = faiss.IDSelectorBitmap(self._alive) if self._base_dead else None
        if self.is_exact:
            scores, places = self._scan(queries, k, alive)
        else:
            depth = max(HNSW_SEARCH_DEPTH, 2 * k)
            parameters = faiss.SearchParametersHNSW(efSearch=depth, sel=alive)
            scores, places = self._base.search(queries, k, params=parameters)
            if (places < 0).any():  # the graph was cut apart by the dead: look at every vector
                everything = faiss.downcast_index(self._base.storage)
                scores, places = everything.search(queries, k, params=faiss.SearchParameters(sel=alive))
        return scores, self._base_ids[places]

    def _scan(
        self, queries: Vectors, k: int, alive: faiss.IDSelectorBitmap | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Several queries are one matrix product, but not under a selector: ask for more and pass over the dead."""
        assert self._base is not None
        if alive is None or len(queries) < QUERIES_WORTH_A_PRODUCT:
            found: tuple[NDArray[np.float32], NDArray[np.int64]] = self._base.search(
                queries, k, params=faiss.SearchParameters(sel=alive)
            )
            return found
        scores, places = self._base.search(queries, min(k + SPARE, len(self._base_ids)))
        is_alive = self._is_alive()[places]
        if is_alive.sum(axis=1).min() < k:
            return self._base.search(queries, k, params=faiss.SearchParameters(sel=alive))  # type: ignore[no-any-return]
        kept = np.argsort(~is_alive, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, kept, 1), np.take_along_axis(places, kept, 1)

    def _search_tail(self, queries: Vectors, k: int) -> tuple[NDArray[np.float32], Ids]:
        size = self._tail_size
        scores = queries @ self._tail_vectors[:size].T
        ids = np.broadcast_to(self._tail_ids[:size], scores.shape)
        if size > k:
            best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
            scores, ids = np.take_along_axis(scores, best, 1), np.take_along_axis(ids, best, 1)
        return scores, ids


class IndexManager:
    """Builds, loads and sweeps checkpoints, and keeps the partitions open that were used last."""

    def __init__(self, root: Path, *, exact_up_to: int, memory_bytes: int) -> None:
        self.root = root
        self.exact_up_to = exact_up_to
        self.memory_bytes = memory_bytes
        self._open: OrderedDict[Partition, OpenPartition] = OrderedDict()
        self._lock = Lock()

    def require_folder(self) -> None:
        """Make the folder if there is none. Raises IndexStoreUnavailable."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(error) from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise IndexStoreUnavailable("INDEX_DIR cannot be written: check its owner and mode.")

    def partition(self, key: Partition, dimension: int) -> OpenPartition:
        """The partition in memory, empty if it was not open. The ones used longest ago make room."""
        with self._lock:
            opened = self._open.setdefault(key, OpenPartition(dimension))
            self._open.move_to_end(key)
            total = sum(each.nbytes for each in self._open.values())
            while total > self.memory_bytes and len(self._open) > 1:
                total -= self._open.popitem(last=False)[1].nbytes
            return opened

    def build(
        self, partition: Partition, ids: Ids, vectors: Vectors, *, covered_seq: int, check: Callable[[], None]
    ) -> Checkpoint:
        """Write a new file, durably, and return what its row must say. *check* is called on the way and may raise.

        *ids* ascend; *vectors* are theirs, unit length, shape ``(len(ids), dimension)``.
        """
        count, dimension = vectors.shape
        index = faiss.IndexFlatIP(dimension)
        if count > self.exact_up_to:
            index = faiss.IndexHNSWFlat(dimension, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = HNSW_BUILD_DEPTH
        for start in range(0, count, BUILD_SLICE):
            check()
            index.add(vectors[start : start + BUILD_SLICE])
        body = (ids.astype("<i8").data.cast("B"), faiss.serialize_index(index).data)
        digest = hashlib.sha256(body[0])
        digest.update(body[1])
        length = sum(len(part) for part in body)
        head = HEADER.pack(MAGIC, _key(partition), FORMAT, dimension, count, length, digest.digest())
        name = f"{_key(partition).hex()}/{covered_seq:012d}-{uuid.uuid4().hex[:12]}.faiss"
        try:
            _write_durably(self.root / name, head, *body)
        except OSError as error:
            raise _unusable(error) from error
        return Checkpoint(name, digest.hexdigest(), covered_seq, count, dimension)

    def load(self, partition: Partition, checkpoint: Checkpoint) -> tuple[faiss.Index, Ids]:
        """The FAISS index of a checkpoint and the ids of its rows.

        Raises DamagedIndex before FAISS sees a wrong byte.
        """
        try:
            content = (self.root / checkpoint.name).read_bytes()
        except OSError as error:
            kind = MissingIndex if isinstance(error, FileNotFoundError) else DamagedIndex
            raise kind(f"The file cannot be read: {error.strerror}.") from error
        digest = bytes.fromhex(checkpoint.checksum)
        body = memoryview(content)[HEADER.size :]
        told = (MAGIC, _key(partition), FORMAT, checkpoint.dimension, checkpoint.ntotal, len(body), digest)
        if len(content) < HEADER.size or HEADER.unpack_from(content) != told:
            raise DamagedIndex("The file is short, or its header is not what the row says.")
        if hashlib.sha256(body).digest() != digest:
            raise DamagedIndex("The file's checksum is not the one in its row.")
        ids = np.frombuffer(body, "<i8", checkpoint.ntotal).astype(np.int64)
        try:
            return faiss.deserialize_index(np.frombuffer(body, np.uint8, offset=ids.nbytes)), ids
        except RuntimeError as error:
            raise DamagedIndex("FAISS does not read the file: was it written by a newer version?") from error

    def sweep(self, partition: Partition, keep: Checkpoint | None) -> None:
        """Unlink the partition's files that are older than *keep*; without it all: the partition is no more.

        A younger file stays: another worker may be about to commit its name.
        """
        kept = _written_at(self.root / keep.name) if keep else math.inf
        for path in (self.root / _key(partition).hex()).glob("*.*"):
            if _written_at(path) < kept:
                path.unlink(missing_ok=True)

    def discard(self, checkpoint: Checkpoint) -> None:
        """Unlink a file whose name was not committed."""
        (self.root / checkpoint.name).unlink(missing_ok=True)


def _key(partition: Partition) -> bytes:
    """32 bytes that no tenant can steer: their words never become a path."""
    words = (str(partition.team_id), str(partition.project_id), partition.embedding_version)
    return hashlib.sha256("\x00".join(words).encode()).digest()


def _written_at(path: Path) -> float:
    """Seconds since 1970; of a file that is gone, before all others."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _unusable(error: OSError) -> IndexStoreUnavailable:
    return IndexStoreUnavailable(f"INDEX_DIR cannot be written: {error.strerror}. Searches go on without it.")


def _write_durably(path: Path, *parts: bytes | memoryview) -> None:
    """All or nothing under *path*, also when the power goes: file, then name, then folder reach the disk."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        _sync_folder(path.parent.parent)
    temporary = path.with_suffix(".tmp")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
