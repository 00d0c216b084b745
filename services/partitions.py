"""A partition as it is now: what the process holds of it in memory, brought up to the reader's snapshot."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, exists, or_, select
from sqlalchemy.orm import Session

from database import Database
from domain import Partition
from errors import DamagedIndex, ServiceError
from index_manager import Checkpoint, IndexManager, OpenPartition
from models import Chunk, Embedding, IndexRow, Project, Team
from services.embedding import to_matrix
from services.publishing import Publisher

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A namespace's rows as one read transaction sees them."""

    project: Project
    index: IndexRow

    @property
    def key(self) -> Partition:
        return Partition(self.project.team_id, self.project.id, self.project.embedding_version)


def snapshot(session: Session, tenant_id: str, namespace: str) -> Snapshot | None:
    """One row: where the namespace stands, and which checkpoint it has."""
    found = session.execute(_SNAPSHOT, {"tenant_id": tenant_id, "namespace": namespace}).one_or_none()
    return Snapshot(*found) if found else None


# Built once: every search asks it twice, and building it takes as long as running it.
_SNAPSHOT = (
    select(Project, IndexRow)
    .join(Team, Team.id == Project.team_id)
    .join(
        IndexRow,
        and_(
            IndexRow.team_id == Project.team_id,
            IndexRow.project_id == Project.id,
            IndexRow.embedding_version == Project.embedding_version,
        ),
    )
    .where(Team.name == bindparam("tenant_id"), Project.name == bindparam("namespace"))
)


def checkpoint_of(index: IndexRow) -> Checkpoint | None:
    if index.faiss_path is None or index.checksum is None:
        return None
    return Checkpoint(index.faiss_path, index.checksum, index.covered_seq, index.ntotal, index.dimension)


@dataclass(frozen=True)
class PartitionService:
    database: Database
    indexes: IndexManager
    publisher: Publisher

    def opened(self, seen: Snapshot) -> OpenPartition:
        return self.indexes.partition(seen.key, seen.index.dimension)

    def catch_up(self, session: Session, seen: Snapshot, opened: OpenPartition) -> None:
        """Bring *opened* to the snapshot; the caller holds its lock. Costs what changed, not what there is."""
        self._stand_on_checkpoint(seen, opened)
        if opened.seen_seq < seen.project.seq:
            replay(session, seen, opened)

    def _stand_on_checkpoint(self, seen: Snapshot, opened: OpenPartition) -> None:
        """Load the checkpoint that the row names, if it is another. A damaged one is reported, not opened."""
        wanted = checkpoint_of(seen.index)
        is_known_bad = wanted == opened.refused and seen.index.problem is not None
        if wanted is None or wanted == opened.checkpoint or is_known_bad:
            return
        try:
            base, ids = self.indexes.load(seen.key, wanted)
        except DamagedIndex as error:
            self._report_damage(seen, str(error))
            opened.refused = wanted
        else:
            opened.start_from(wanted, base, ids)

    def _report_damage(self, seen: Snapshot, problem: str) -> None:
        """Note it in the row and queue a rebuild, unless a new checkpoint has come meanwhile.

        The search that found it goes on in any case; if this fails, the next one reports it.
        """
        project, index = seen.project, seen.index
        log.error("checkpoint %s of %s/%s: %s", index.faiss_path, project.team_id, project.id, problem)
        try:
            with self.database.write() as session:
                row = session.get(IndexRow, (index.team_id, index.project_id, index.embedding_version))
                if row is not None and row.faiss_path == index.faiss_path:
                    row.problem = problem
                    self.publisher.ask_for_rebuild(session, project)
        except ServiceError as error:
            log.error("could not queue its rebuild: %s", error)


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


def vectors_of(
    session: Session, key: Partition, which: ColumnElement[bool], dimension: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The ids of some chunks of the partition, ascending, and their vectors, shape ``(n, dimension)``."""
    same = and_(
        Embedding.team_id == Chunk.team_id,
        Embedding.embedding_version == key.embedding_version,
        Embedding.embed_hash == Chunk.embed_hash,
    )
    query = (
        select(Chunk.faiss_id, Embedding.vector)
        .join(Embedding, same)
        .where(Chunk.team_id == key.team_id, Chunk.project_id == key.project_id, which)
        .order_by(Chunk.faiss_id)
    )
    rows = session.execute(query).all()
    ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
    return ids, to_matrix((row[1] for row in rows), dimension)


def is_live(at_seq: int | BindParameter[int]) -> ColumnElement[bool]:
    """Visible at that number. The sum keeps SQLite from walking the index of live_seq through the whole project."""
    return and_(Chunk.live_seq + 0 <= at_seq, or_(Chunk.dead_seq.is_(None), Chunk.dead_seq > at_seq))


def has_vector(version: str) -> ColumnElement[bool]:
    return exists().where(
        Embedding.team_id == Chunk.team_id,
        Embedding.embedding_version == version,
        Embedding.embed_hash == Chunk.embed_hash,
    )
