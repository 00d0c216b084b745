"""The worker's side of an index: rebuild it, and move a namespace to another embedding version."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, select

from database import Database
from domain import Partition
from engines.vectors.base import VectorStore
from engines.vectors.truth import has_vector
from index_manager import Checkpoint
from job_queue import Lease
from models import Chunk, EmbeddingVersion, IndexRow, Json, Project
from services.embedding import EmbeddingService
from services.publishing import Publisher
from text.enrich import embedded_text

log = logging.getLogger(__name__)

TEXTS_PER_STEP = 128


@dataclass(frozen=True)
class IndexingService:
    database: Database
    vectors: VectorStore
    embedding: EmbeddingService
    publisher: Publisher

    def rebuild(self, lease: Lease) -> Json:
        """Build the index of the partition as it is now, or first move it to another embedding version."""
        if lease.claim.payload.get("reembed"):
            return self._reembed(lease, str(lease.claim.payload["new_embedding_version"]))
        project = self._project(lease)
        version = project.embedding_version
        standing = self.vectors.standing(_key(project, version))
        if standing is not None:
            return {**_told(version, standing), "unchanged": True}
        built = self._build(lease, project, version)
        with lease.step(99, _told(version, built)) as session:
            current, _ = self.publisher.next_numbers(session, project, publications=0)
            is_named = current.embedding_version == version and self.vectors.name(session, current, built)
        if is_named:
            self.vectors.sweep(_key(project, version), built)
        else:
            self.vectors.discard(built)
        return _told(version, built)

    def _reembed(self, lease: Lease, version: str) -> Json:
        """Make all vectors of *version* beside the ones that serve, then switch in one commit.

        What is published meanwhile lacks the new vectors: the switch finds that out and goes round again.
        """
        self.embedding.ensure_registered(version)
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
            self.vectors.sweep(_key(project, swept), built if swept == version else None)
        return told

    def _project(self, lease: Lease) -> Project:
        with self.database.read() as session:
            return session.get_one(Project, (lease.claim.team_id, lease.claim.project_id))

    def _build(self, lease: Lease, project: Project, version: str) -> Checkpoint:
        with self.database.read() as session:
            dimension = session.get_one(EmbeddingVersion, version).dimension
        return self.vectors.build(_key(project, version), dimension, check=lease.check)

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
                self.vectors.forget(session, _key(current, current.embedding_version))
                session.execute(delete(IndexRow).where(_row_of(current, current.embedding_version)))
                current.embedding_version = version
            self.vectors.name(session, current, built)
            return True


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
