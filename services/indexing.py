"""The worker's side of an index: write checkpoints, and move a namespace to another embedding version."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from database import Database, insert_or_ignore
from domain import Partition
from errors import DamagedIndex
from index_manager import Checkpoint, IndexManager
from job_queue import Lease
from models import Chunk, EmbeddingVersion, IndexRow, Json, Project, utc_now
from services.embedding import EmbeddingService
from services.partitions import checkpoint_of, has_vector, is_live, vectors_of
from services.publishing import Publisher
from text.enrich import embedded_text

log = logging.getLogger(__name__)

TEXTS_PER_STEP = 128


@dataclass(frozen=True)
class IndexingService:
    database: Database
    indexes: IndexManager
    embedding: EmbeddingService
    publisher: Publisher

    def rebuild(self, lease: Lease) -> Json:
        """Write a checkpoint of the partition as it is now, or first move it to another embedding version."""
        if lease.claim.payload.get("reembed"):
            return self._reembed(lease, str(lease.claim.payload["new_embedding_version"]))
        project = self._project(lease)
        version = project.embedding_version
        standing = self._standing(project)
        if standing is not None:
            return {**_told(version, standing), "unchanged": True}
        built = self._build(lease, project, version)
        with lease.step(99, _told(version, built)) as session:
            current, _ = self.publisher.next_numbers(session, project, publications=0)
            is_named = current.embedding_version == version and _name(session, current, built)
        if is_named:
            self.indexes.sweep(_key(project, version), built)
        else:
            self.indexes.discard(built)
        return _told(version, built)

    def _standing(self, project: Project) -> Checkpoint | None:
        """The checkpoint, if nothing has changed since it and its file is as it should be."""
        with self.database.read() as session:
            index = session.get(IndexRow, (project.team_id, project.id, project.embedding_version))
        checkpoint = checkpoint_of(index) if index is not None and not index.changes else None
        if checkpoint is None:
            return None
        try:
            self.indexes.load(_key(project, project.embedding_version), checkpoint)
        except DamagedIndex:
            return None
        return checkpoint

    def _reembed(self, lease: Lease, version: str) -> Json:
        """Make all vectors of *version* beside the ones that serve, then switch in one commit.

        What is published meanwhile lacks the new vectors: the switch finds that out and goes round again.
        """
        self.embedding.embedder(version)  # one that cannot be loaded could not answer questions either
        embedded = int(lease.claim.result.get("chunks_embedded", 0))
        while True:
            project = self._project(lease)
            embedded = self._embed_missing(lease, project, version, embedded)
            built = self._build(lease, project, version)
            told = {
                **_told(version, built),
                "chunks_embedded": embedded,
                "chunks_reused": max(built.ntotal - embedded, 0),
            }
            if self._switch(lease, project, version, built, told):
                break
        for swept in {project.embedding_version, version}:
            self.indexes.sweep(_key(project, swept), built if swept == version else None)
        return told

    def _project(self, lease: Lease) -> Project:
        with self.database.read() as session:
            return session.get_one(Project, (lease.claim.team_id, lease.claim.project_id))

    def _build(self, lease: Lease, project: Project, version: str) -> Checkpoint:
        """Collect the live vectors of one snapshot, then write them without holding it."""
        key = _key(project, version)
        with self.database.read() as session:
            row = session.get_one(Project, (project.team_id, project.id))
            dimension = session.get_one(EmbeddingVersion, version).dimension
            ids, vectors = vectors_of(session, key, is_live(row.seq), dimension)
        return self.indexes.build(key, ids, vectors, covered_seq=row.seq, check=lease.check)

    def _embed_missing(self, lease: Lease, project: Project, version: str, embedded: int) -> int:
        """Embed, step by step, what is live and has no vector of *version*. Returns how many in all."""
        last_id, done = -1, 0
        while True:
            with self.database.read() as session:
                query = _without_vector(project, version).where(Chunk.faiss_id > last_id)
                rows = session.execute(query.order_by(Chunk.faiss_id).limit(TEXTS_PER_STEP)).all()
            if not rows:
                return embedded
            texts = {row.embed_hash: embedded_text(row.text, row.header) for row in rows}
            vectors = self.embedding.embed(version, texts)
            last_id, done, embedded = rows[-1].faiss_id, done + len(rows), embedded + len(vectors)
            progress = min(95, 95 * done // max(project.live_chunks, 1))
            with lease.step(progress, {"chunks_embedded": embedded}) as session:
                self.embedding.store(session, project.team_id, version, vectors)

    def _switch(self, lease: Lease, project: Project, version: str, built: Checkpoint, told: Json) -> bool:
        """Let the new version serve, if every live chunk has its vector. The old index goes in the same commit."""
        with lease.step(99, told) as session:
            current, _ = self.publisher.next_numbers(session, project)
            if session.execute(_without_vector(current, version).limit(1)).first() is not None:
                return False
            if current.embedding_version != version:
                session.execute(delete(IndexRow).where(_row_of(current, current.embedding_version)))
                current.embedding_version = version
            _name(session, current, built)
            return True


def _name(session: Session, project: Project, checkpoint: Checkpoint) -> bool:
    """The swap: let the serving partition's row name the new file, if the one it names is older or damaged."""
    version = project.embedding_version
    since = or_(Chunk.live_seq > checkpoint.covered_seq, Chunk.dead_seq > checkpoint.covered_seq)
    in_project = and_(Chunk.team_id == project.team_id, Chunk.project_id == project.id)
    changes = session.scalar(select(func.count()).where(in_project, since)) or 0
    key = {"team_id": project.team_id, "project_id": project.id, "embedding_version": version}
    session.execute(insert_or_ignore(session, IndexRow).values(**key, dimension=checkpoint.dimension))
    is_behind = or_(
        IndexRow.faiss_path.is_(None), IndexRow.covered_seq < checkpoint.covered_seq, IndexRow.problem.is_not(None)
    )
    done = session.execute(
        update(IndexRow)
        .where(_row_of(project, version), is_behind)
        .values(
            faiss_path=checkpoint.name,
            checksum=checkpoint.checksum,
            covered_seq=checkpoint.covered_seq,
            ntotal=checkpoint.ntotal,
            changes=changes,
            problem=None,
            updated_at=utc_now(),
        )
    )
    assert isinstance(done, CursorResult)
    return done.rowcount > 0


def _without_vector(project: Project, version: str) -> Any:
    in_project = and_(Chunk.team_id == project.team_id, Chunk.project_id == project.id)
    is_visible = and_((Chunk.live_seq + 0).is_not(None), (Chunk.dead_seq + 0).is_(None))  # in the order of faiss_id
    query = select(Chunk.faiss_id, Chunk.embed_hash, Chunk.text, Chunk.header)
    return query.where(in_project, is_visible, ~has_vector(version))


def _row_of(project: Project, version: str) -> ColumnElement[bool]:
    return and_(
        IndexRow.team_id == project.team_id,
        IndexRow.project_id == project.id,
        IndexRow.embedding_version == version,
    )


def _key(project: Project, version: str) -> Partition:
    return Partition(project.team_id, project.id, version)


def _told(version: str, checkpoint: Checkpoint) -> Json:
    return {
        "embedding_version": version,
        "ntotal": checkpoint.ntotal,
        "dimension": checkpoint.dimension,
        "covered_seq": checkpoint.covered_seq,
    }
