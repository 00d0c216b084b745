"""FAISS files as checkpoints, and in memory what came and went since: the tail and the dead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from database.dialects import insert_or_ignore
from database.engine import Database, Kind
from domain import Built, Ids, Partition, Vectors
from engines.vectors.base import Growth, Hits
from errors import DamagedIndex, MissingIndex
from index_manager import Checkpoint, IndexManager, OpenPartition
from models import Chunk, IndexRow, Project, utc_now
from snapshot import Snapshot, differing, is_live, lacks_vectors, live_vectors, row_of, vectors_of


@dataclass(frozen=True, slots=True)
class RebuildPolicy:
    """When a partition asks for a new checkpoint by itself: after this many changes, and this share of it."""

    min_changes: int
    share: float

    def is_due(self, growth: Growth) -> bool:
        return growth.changes > max(self.min_changes, self.share * growth.built_chunks)


class CheckpointStore:
    """Publishing costs nothing here: whoever reads next brings its own memory up to the snapshot.

    On Postgres the file that a row names may lie in the folder of another host. Whoever lacks it has everything
    in its tail.
    """

    follower = None

    def __init__(self, database: Database, indexes: IndexManager, policy: RebuildPolicy) -> None:
        self.database = database
        self.indexes = indexes
        self.policy = policy

    @contextmanager
    def opened(self, key: Partition, dimension: int) -> Iterator[OpenCheckpoint]:
        partition = self.indexes.partition(key, dimension)
        with partition.lock:
            yield OpenCheckpoint(self.indexes, partition, may_be_elsewhere=self.database.kind is not Kind.SQLITE)

    def require_ready(self) -> None:
        self.indexes.require_folder()

    @property
    def folder(self) -> Path:
        return self.indexes.root

    def describe(self) -> str:
        return f"FAISS, {self.indexes.root} can be written"

    def is_dirty(self, seen: Snapshot) -> bool:
        return seen.index.changes > 0

    def is_rebuild_due(self, growth: Growth) -> bool:
        return self.policy.is_due(growth)

    def standing(self, key: Partition) -> Checkpoint | None:
        """The checkpoint, if nothing has changed since it and its file is as it should be."""
        with self.database.read() as session:
            index = session.get(IndexRow, (key.team_id, key.project_id, key.embedding_version))
        checkpoint = checkpoint_of(index) if index is not None and not (index.changes or index.problem) else None
        if checkpoint is None:
            return None
        try:
            self.indexes.load(key, checkpoint)
        except DamagedIndex as error:
            with self.database.write() as session:
                damaged = and_(row_of(key), IndexRow.faiss_path == checkpoint.name)
                session.execute(update(IndexRow).where(damaged).values(problem=str(error)))
            return None
        return checkpoint

    def build(self, key: Partition, dimension: int, *, check: Callable[[], None]) -> Checkpoint | None:
        """Collect the live vectors of one snapshot, then write them without holding it."""
        with self.database.read() as session:
            row = session.get_one(Project, (key.team_id, key.project_id))
            if lacks_vectors(session, key):
                return None
            ids, vectors = vectors_of(session, key, is_live(row.seq), dimension)
        return self.indexes.build(key, ids, vectors, covered_seq=row.seq, check=check)

    def take_over(self, session: Session, project: Project, built: Built) -> None:
        """The swap: let the serving partition's row name the new file, if the one it names is older or damaged."""
        assert isinstance(built, Checkpoint)
        key = Partition(project.team_id, project.id, project.embedding_version)
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

    def forget(self, session: Session, key: Partition) -> None:
        """Its files go with sweep(), once no row names them."""
        session.execute(delete(IndexRow).where(row_of(key)))

    def sweep(self, key: Partition, built: Built | None = None) -> None:
        with self.database.read() as session:
            row = session.get(IndexRow, (key.team_id, key.project_id, key.embedding_version))
        named = checkpoint_of(row) if row is not None else None
        if row is None or named is not None:
            self.indexes.sweep(key, named)
        if isinstance(built, Checkpoint) and built != named:
            self.indexes.discard(built)

    def problems(self, session: Session, seen: Snapshot, live: Ids) -> Iterator[str]:
        """Replays the partition from its file, as a process that just started would."""
        opened = OpenPartition(seen.index.dimension)
        checkpoint = checkpoint_of(seen.index)
        if checkpoint is not None:
            try:
                opened.start_from(checkpoint, self.indexes.load(seen.key, checkpoint))
            except DamagedIndex as error:
                yield f"Checkpoint {checkpoint.name}: {error} Searches use the database; a rebuild writes it again."
        replay(session, seen, opened)
        found = opened.ids()
        if len(found) != len(live) or not np.array_equal(found, live):
            lost, extra = np.setdiff1d(live, found), np.setdiff1d(found, live)
            yield f"Checkpoint and tail miss {len(lost)} live chunks and hold {len(extra)} that are not live."
        _, vectors = live_vectors(session, seen)
        if count := differing(opened.vectors(), vectors):
            yield f"{count} vectors in the checkpoint differ from the database's."


class OpenCheckpoint:
    """A partition in memory, whose lock is held."""

    def __init__(self, indexes: IndexManager, partition: OpenPartition, *, may_be_elsewhere: bool) -> None:
        self.indexes = indexes
        self.partition = partition
        self.may_be_elsewhere = may_be_elsewhere

    def catch_up(self, session: Session, seen: Snapshot) -> str | None:
        """Costs what changed, not what there is."""
        problem = self._stand_on_checkpoint(seen)
        if self.partition.seen_seq < seen.project.seq:
            replay(session, seen, self.partition)
        return problem

    def search(self, queries: Vectors, *, k: int, allowed: Ids | None = None) -> Hits:
        return Hits(*self.partition.search(queries, k, allowed))

    def _stand_on_checkpoint(self, seen: Snapshot) -> str | None:
        """Load the checkpoint that the row names, if it is another. A damaged one is reported, not opened."""
        wanted, held = checkpoint_of(seen.index), self.partition
        is_known_bad = wanted == held.refused and seen.index.problem is not None
        if wanted is None or wanted == held.checkpoint or is_known_bad:
            return None
        try:
            base = self.indexes.load(seen.key, wanted)
        except MissingIndex as error:
            return None if self.may_be_elsewhere else self._refuse(wanted, error)
        except DamagedIndex as error:
            return self._refuse(wanted, error)
        held.start_from(wanted, base)
        return None

    def _refuse(self, checkpoint: Checkpoint, error: DamagedIndex) -> str:
        self.partition.refused = checkpoint
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


def replay(session: Session, seen: Snapshot, opened: OpenPartition) -> None:
    """Read what appeared and disappeared after what *opened* has seen."""
    key, upto, since = seen.key, seen.project.seq, opened.seen_seq
    came = and_(Chunk.live_seq > since, is_live(upto))
    ids, matrix = vectors_of(session, key, came, seen.index.dimension)
    went: list[int] = []
    if since > 0:
        in_project = and_(Chunk.team_id == key.team_id, Chunk.project_id == key.project_id)
        query = select(Chunk.faiss_id).where(in_project, Chunk.dead_seq > since, Chunk.dead_seq <= upto)
        went = list(session.scalars(query))
    opened.apply(appeared=ids, vectors=matrix, disappeared=np.array(went, np.int64), seq=upto)
