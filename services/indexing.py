"""The worker's side of an index: write checkpoints, and move a namespace to another embedding version."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
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
from services.usage import count_ingest
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
        project = self._project(lease)
        if lease.claim.payload.get("reembed"):
            return self._reembed(lease, project, str(lease.claim.payload["new_embedding_version"]))
        version = project.embedding_version
        standing = self._standing(project)
        if standing is not None:
            return {**_told(version, standing), "unchanged": True}
        built, _ = self._complete(lease, project, version)
        with lease.step(99, _told(version, built)) as session:
            current, _ = self.publisher.next_numbers(session, project, publications=0)
            if current.embedding_version == version:
                _name(session, current, built)
        if self._sweep(project, version) != built:
            self.indexes.discard(built)
        return _told(version, built)

    def _reembed(self, lease: Lease, project: Project, version: str) -> Json:
        """Make all vectors of *version* beside the ones that serve, then switch in one commit.

        What is published after the checkpoint's snapshot is its tail; the switch waits until that has vectors too.
        """
        self.embedding.embedder(version)  # one that cannot be loaded could not answer questions either
        built, embedded = self._complete(lease, project, version)
        while True:
            told = {**_told(version, built), "chunks_embedded": embedded}
            told["chunks_reused"] = max(built.ntotal - embedded, 0)
            left = self._switch(lease, project, version, built, told)
            if left is not None:
                break
            embedded = self._embed_missing(lease, project, version, embedded)
        if self._sweep(project, version) != built:
            self.indexes.discard(built)
        if left != version:
            self._sweep(project, left)
        return told

    def _complete(self, lease: Lease, project: Project, version: str) -> tuple[Checkpoint, int]:
        """A checkpoint of *version* that lacks no live chunk, and how many texts were embedded for it."""
        embedded = int(lease.claim.result.get("chunks_embedded", 0))
        while True:
            embedded = self._embed_missing(lease, project, version, embedded)
            built = self._build(lease, project, version)
            if built is not None:
                return built, embedded

    def _sweep(self, project: Project, version: str) -> Checkpoint | None:
        """Unlink what the row does not name now. Returns what it does."""
        with self.database.read() as session:
            row = session.get(IndexRow, (project.team_id, project.id, version))
        named = checkpoint_of(row) if row is not None else None
        if row is None or named is not None:
            self.indexes.sweep(_key(project, version), named)
        return named

    def _standing(self, project: Project) -> Checkpoint | None:
        """The checkpoint, if nothing has changed since it and its file is as it should be."""
        with self.database.read() as session:
            index = session.get(IndexRow, (project.team_id, project.id, project.embedding_version))
        checkpoint = checkpoint_of(index) if index is not None and not (index.changes or index.problem) else None
        if checkpoint is None:
            return None
        try:
            self.indexes.load(_key(project, project.embedding_version), checkpoint)
        except DamagedIndex as error:
            with self.database.write() as session:
                damaged = and_(_row_of(project, project.embedding_version), IndexRow.faiss_path == checkpoint.name)
                session.execute(update(IndexRow).where(damaged).values(problem=str(error)))
            return None
        return checkpoint

    def _project(self, lease: Lease) -> Project:
        with self.database.read() as session:
            return session.get_one(Project, (lease.claim.team_id, lease.claim.project_id))

    def _build(self, lease: Lease, project: Project, version: str) -> Checkpoint | None:
        """Collect the live vectors of one snapshot, then write them without holding it; None: some lack one."""
        key = _key(project, version)
        with self.database.read() as session:
            row = session.get_one(Project, (project.team_id, project.id))
            if session.execute(_without_vector(row, version).limit(1)).first() is not None:
                return None
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
                count_ingest(session, project, embedded=len(vectors))

    def _switch(self, lease: Lease, project: Project, version: str, built: Checkpoint, told: Json) -> str | None:
        """Let *version* serve; the old index goes in the same commit. Returns the version that served before.

        None: something was published after *built* whose vectors are not there yet.
        """
        with lease.step(99, told) as session:
            current, _ = self.publisher.next_numbers(session, project)
            came_later = _without_vector(current, version).where(Chunk.live_seq > built.covered_seq)
            if session.execute(came_later.limit(1)).first() is not None:
                return None
            left = current.embedding_version
            if left != version:
                session.execute(delete(IndexRow).where(_row_of(current, left)))
                current.embedding_version = version
            _name(session, current, built)
            count_ingest(session, current, chunks=built.ntotal)
            return left


def _name(session: Session, project: Project, checkpoint: Checkpoint) -> None:
    """The swap: let the serving partition's row name the new file, if the one it names is older or damaged."""
    version = project.embedding_version
    in_project = and_(Chunk.team_id == project.team_id, Chunk.project_id == project.id)
    changes = sum(
        session.scalar(select(func.count()).where(in_project, stamp > checkpoint.covered_seq)) or 0
        for stamp in (Chunk.live_seq, Chunk.dead_seq)  # one by one, each has its index
    )
    key = {"team_id": project.team_id, "project_id": project.id, "embedding_version": version}
    session.execute(insert_or_ignore(session, IndexRow).values(**key, dimension=checkpoint.dimension))
    is_behind = or_(
        IndexRow.faiss_path.is_(None), IndexRow.covered_seq < checkpoint.covered_seq, IndexRow.problem.is_not(None)
    )
    session.execute(
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
