"""FAISS files as checkpoints; the changes since, the tail and tombstones, are kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from database.dialects import insert_or_ignore
from database.engine import Database, DatabaseKind
from domain import BuildResult, Ids, Partition, Vectors
from engines.vectors.base import Growth, Hits
from errors import DamagedIndex, MissingIndex
from index_building import Rows
from index_manager import Checkpoint, IndexManager, OpenPartition
from loaded_index import LoadedIndex
from models import Chunk, IndexRow, Project, utc_now
from snapshot import (
    Snapshot,
    count_differing,
    ids_of,
    is_live,
    lacks_vectors,
    live_vectors,
    row_of,
    vectors_in_parts,
    vectors_of,
)


@dataclass(frozen=True, slots=True)
class RebuildPolicy:
    """When a partition gets a new checkpoint: after *min_changes*, and changes of this share of its chunks."""

    min_changes: int
    share: float

    def is_due(self, growth: Growth) -> bool:
        return growth.changes > max(self.min_changes, self.share * growth.built_chunks)


class CheckpointStore:
    """Publishing costs nothing: every reader brings its own memory up to the snapshot.

    On Postgres the file that a row names may be on another host. A process without it keeps everything in its tail.
    """

    follower = None

    def __init__(self, database: Database, indexes: IndexManager, policy: RebuildPolicy) -> None:
        self.database = database
        self.indexes = indexes
        self.policy = policy

    @contextmanager
    def open_partition(self, key: Partition, dimension: int) -> Iterator[OpenCheckpoint]:
        with self.indexes.partition(key, dimension) as partition:
            yield OpenCheckpoint(
                self.indexes, partition, may_be_elsewhere=self.database.kind is not DatabaseKind.SQLITE
            )

    def require_ready(self) -> None:
        self.indexes.require_folder()

    @property
    def folder(self) -> Path:
        return self.indexes.root

    @property
    def held_bytes(self) -> int:
        return self.indexes.held_bytes

    def describe(self) -> str:
        return f"FAISS, {self.indexes.root} can be written"

    def is_dirty(self, snapshot: Snapshot) -> bool:
        return snapshot.index.changes > 0

    def is_rebuild_due(self, growth: Growth) -> bool:
        return self.policy.is_due(growth)

    def current_build(self, key: Partition) -> Checkpoint | None:
        """The checkpoint, if nothing has changed since and its file is intact."""
        with self.database.read() as session:
            index = session.get(IndexRow, (key.team_id, key.project_id, key.embedding_version))
        checkpoint = checkpoint_of(index) if index is not None and not (index.changes or index.problem) else None
        if checkpoint is None:
            return None
        try:
            self.indexes.load(key, checkpoint)
        except DamagedIndex as error:
            with self.database.write() as session:
                is_damaged = and_(row_of(key), IndexRow.faiss_path == checkpoint.name)
                session.execute(update(IndexRow).where(is_damaged).values(problem=str(error)))
            return None
        return checkpoint

    def build(
        self, key: Partition, dimension: int, *, check: Callable[[], None], is_anew: bool = False
    ) -> Checkpoint | None:
        """Read in one snapshot what changed since the last checkpoint, then write outside the transaction."""
        base, grown_from = (LoadedIndex.empty(dimension), None) if is_anew else self._base(key, dimension)
        since = grown_from.covered_seq if grown_from is not None else 0
        with self.database.read() as session:
            row = session.get_one(Project, (key.team_id, key.project_id))
            if lacks_vectors(session, key):
                return None
            has_appeared = and_(Chunk.live_seq > since, is_live(row.seq))
            added = Rows.joined([Rows.of(*part) for part in vectors_in_parts(session, key, has_appeared, dimension)])
            dead = disappeared(session, key, since=since, until=row.seq)
        built = self.indexes.build(key, base, added, dead, covered_seq=row.seq, check=check)
        return replace(built, grown_from=grown_from)

    def _base(self, key: Partition, dimension: int) -> tuple[LoadedIndex, Checkpoint | None]:
        """The index of the last checkpoint, to grow; an empty one if there is none that can tell what died since."""
        with self.database.read() as session:
            index = session.get(IndexRow, (key.team_id, key.project_id, key.embedding_version))
            project = session.get_one(Project, (key.team_id, key.project_id))
        checkpoint = checkpoint_of(index) if index is not None and index.problem is None else None
        is_usable = checkpoint is not None and checkpoint.covered_seq >= project.purged_seq
        if checkpoint is not None and is_usable and checkpoint.dimension == dimension:
            with suppress(DamagedIndex):
                return self.indexes.load(key, checkpoint, can_grow=True), checkpoint
        return LoadedIndex.empty(dimension), None

    def take_over(self, session: Session, project: Project, version: str, built: BuildResult) -> None:
        """The swap: point the partition's row to the new file, if its current one is older or damaged.

        Not to one that grew from a file that was replaced by an erasure meanwhile: it may hold what was erased.
        """
        assert isinstance(built, Checkpoint)
        key = Partition(project.team_id, project.id, version)
        base = built.grown_from
        if base is not None and base.covered_seq <= project.purged_seq and base.name != _named(session, key):
            return
        in_project = and_(Chunk.team_id == project.team_id, Chunk.project_id == project.id)
        changes = sum(
            session.scalar(select(func.count()).where(in_project, stamp > built.covered_seq)) or 0
            for stamp in (Chunk.live_seq, Chunk.dead_seq)  # one by one, each has its index
        )
        session.execute(insert_or_ignore(session, IndexRow).values(**asdict(key), dimension=built.dimension))
        is_behind = or_(
            IndexRow.faiss_path.is_(None), IndexRow.covered_seq < built.covered_seq, IndexRow.problem.is_not(None)
        )
        session.execute(
            update(IndexRow)
            .where(row_of(key), is_behind)
            .values(
                faiss_path=built.name,
                checksum=built.checksum,
                covered_seq=built.covered_seq,
                ntotal=built.ntotal,
                changes=changes,
                problem=None,
                updated_at=utc_now(),
            )
        )

    def replace(self, session: Session, project: Project, version: str, built: BuildResult) -> bool:
        assert isinstance(built, Checkpoint)
        key = Partition(project.team_id, project.id, version)
        is_replaced = and_(row_of(key), IndexRow.covered_seq <= built.covered_seq)
        session.execute(update(IndexRow).where(is_replaced).values(faiss_path=None))
        self.take_over(session, project, version, built)
        return _named(session, key) == built.name

    def drop(self, session: Session, key: Partition) -> None:
        none = {"faiss_path": None, "checksum": None, "covered_seq": 0, "ntotal": 0, "problem": None}
        session.execute(update(IndexRow).where(row_of(key)).values(**none, updated_at=utc_now()))

    def sweep_all(self, key: Partition, *, wait_for_builders: Callable[[], object]) -> int:
        """A file that is there before, and that no row names after, was left by a killed rebuild."""
        files = self.indexes.files(key)
        wait_for_builders()
        with self.database.read() as session:
            named = _named(session, key)
        unnamed = [path for path in files if path.name != Path(named or "").name and path.exists()]
        for path in unnamed:
            path.unlink(missing_ok=True)
        return len(unnamed)

    def forget(self, session: Session, key: Partition) -> None:
        """sweep() unlinks its files once no row names them."""
        session.execute(delete(IndexRow).where(row_of(key)))

    def sweep(self, key: Partition, built: BuildResult | None = None) -> None:
        with self.database.read() as session:
            row = session.get(IndexRow, (key.team_id, key.project_id, key.embedding_version))
        committed = checkpoint_of(row) if row is not None else None
        if row is None or committed is not None:
            self.indexes.sweep(key, committed)
        if isinstance(built, Checkpoint) and built != committed:
            self.indexes.discard(built)

    def problems(self, session: Session, snapshot: Snapshot, live: Ids) -> Iterator[str]:
        """Replays the partition from its file, like a process that has just started."""
        partition = OpenPartition(snapshot.index.dimension)
        checkpoint = checkpoint_of(snapshot.index)
        if checkpoint is not None:
            try:
                partition.start_from(checkpoint, self.indexes.load(snapshot.key, checkpoint))
            except MissingIndex:
                pass  # see unwritten()
            except DamagedIndex as error:
                yield f"Checkpoint {checkpoint.name}: {error} Searches use the database; a rebuild writes it again."
        replay(session, snapshot, partition)
        ids = partition.ids()
        if len(ids) != len(live) or not np.array_equal(ids, live):
            lost, extra = np.setdiff1d(live, ids), np.setdiff1d(ids, live)
            yield f"Checkpoint and tail miss {len(lost)} live chunks and hold {len(extra)} that are not live."
        _, vectors = live_vectors(session, snapshot)
        if count := count_differing(partition.vectors(), vectors):
            yield f"{count} vectors in the checkpoint differ from the database's."

    def unwritten(self, session: Session, snapshot: Snapshot) -> Iterator[str]:  # noqa: ARG002
        checkpoint = checkpoint_of(snapshot.index)
        if checkpoint is not None and not self.indexes.has(checkpoint):
            yield f"The index file {checkpoint.name} is not in {self.indexes.root}: a rebuild writes another."


class OpenCheckpoint:
    """A partition in memory, whose lock the reader holds."""

    def __init__(self, indexes: IndexManager, partition: OpenPartition, *, may_be_elsewhere: bool) -> None:
        self.indexes = indexes
        self.partition = partition
        self.may_be_elsewhere = may_be_elsewhere

    def catch_up(self, session: Session, snapshot: Snapshot) -> str | None:
        """The cost depends on the changes, not on the size."""
        problem = self._load_checkpoint(snapshot)
        if self.partition.applied_seq < snapshot.project.purged_seq:
            self.partition.start_anew()
        if self.partition.applied_seq < snapshot.project.seq:
            replay(session, snapshot, self.partition)
        return problem

    def search(self, queries: Vectors, *, k: int, allowed: Ids | None = None) -> Hits:
        return Hits(*self.partition.search(queries, k, allowed))

    def similarities(self, query: NDArray[np.float32], ids: Ids) -> dict[int, float]:
        return self.partition.similarities(query, ids)

    def _load_checkpoint(self, snapshot: Snapshot) -> str | None:
        """Load the checkpoint that the row names, if it changed. Returns the problem of a damaged one."""
        checkpoint, partition = checkpoint_of(snapshot.index), self.partition
        is_known_bad = checkpoint == partition.damaged and snapshot.index.problem is not None
        if checkpoint is None or checkpoint == partition.checkpoint or is_known_bad:
            return None
        if checkpoint.covered_seq < snapshot.project.purged_seq:
            return None
        try:
            base = self.indexes.load(snapshot.key, checkpoint)
        except MissingIndex as error:
            return None if self.may_be_elsewhere else self._report_damaged(checkpoint, error)
        except DamagedIndex as error:
            return self._report_damaged(checkpoint, error)
        partition.start_from(checkpoint, base)
        return None

    def _report_damaged(self, checkpoint: Checkpoint, error: DamagedIndex) -> str:
        self.partition.damaged = checkpoint
        return str(error)


def checkpoint_of(index: IndexRow) -> Checkpoint | None:
    if index.faiss_path is None or index.checksum is None:
        return None
    return Checkpoint(
        name=index.faiss_path,
        checksum=index.checksum,
        covered_seq=index.covered_seq,
        ntotal=index.ntotal,
        dimension=index.dimension,
    )


def _named(session: Session, key: Partition) -> str | None:
    return session.scalar(select(IndexRow.faiss_path).where(row_of(key)))


def replay(session: Session, snapshot: Snapshot, partition: OpenPartition) -> None:
    """Apply the chunks that appeared or disappeared since the partition's last state."""
    key, until, since = snapshot.key, snapshot.project.seq, partition.applied_seq
    has_appeared = and_(Chunk.live_seq > since, is_live(until))
    ids, matrix = vectors_of(session, key, has_appeared, snapshot.index.dimension)
    dead = disappeared(session, key, since=since, until=until)
    partition.apply(appeared=ids, vectors=matrix, disappeared=dead, seq=until)


def disappeared(session: Session, key: Partition, *, since: int, until: int) -> Ids:
    """The ids of the chunks that were live at *since* or appeared after it, and are dead at *until*, ascending."""
    if since == 0:
        return np.empty(0, np.int64)
    in_project = and_(Chunk.team_id == key.team_id, Chunk.project_id == key.project_id)
    query = select(Chunk.faiss_id).where(in_project, Chunk.dead_seq > since, Chunk.dead_seq <= until)
    return np.sort(ids_of(session, query))
