"""The worker's side of an index: write checkpoints, and move a namespace to another embedding version."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy import func, select

from database.engine import Database
from domain import Built, Json, Partition
from engines.keywords.base import KeywordStore
from engines.vectors.base import VectorStore
from job_lease import Lease
from models import Chunk, EmbeddingVersion, Project
from services.index.counting import count_ingest
from services.index.embedding import EmbeddingService
from services.index.publishing import Publisher
from snapshot import without_vector
from text.enrich import embedded_text

log = logging.getLogger(__name__)

TEXTS_PER_STEP = 128


@dataclass(frozen=True)
class IndexingService:
    database: Database
    vectors: VectorStore
    keywords: KeywordStore
    embedding: EmbeddingService
    publisher: Publisher

    def rebuild(self, lease: Lease) -> Json:
        """Build the index of the partition as it is now, or first move it to another embedding version."""
        project = self._project(lease)
        self.keywords.mend(project, check=lease.give_way)
        if lease.claim.payload.get("reembed"):
            return self._reembed(lease, project, str(lease.claim.payload["new_embedding_version"]))
        version = project.embedding_version
        standing = self.vectors.standing(_key(project, version))
        if standing is not None:
            return {**_summary(version, standing), "unchanged": True}
        built, _ = self._complete(lease, project, version)
        with lease.step(99, _summary(version, built)) as session:
            current, _ = self.publisher.next_numbers(session, project, publications=0)
            if current.embedding_version == version:
                self.vectors.take_over(session, current, built)
        self.vectors.sweep(_key(project, version), built)
        return _summary(version, built)

    def _reembed(self, lease: Lease, project: Project, version: str) -> Json:
        """Make all vectors of *version* beside the ones that serve, then switch in one commit.

        What is published after the checkpoint's snapshot is its tail; the switch waits until that has vectors too.
        """
        self.embedding.embedder(version)  # one that cannot be loaded could not answer questions either
        built, embedded = self._complete(lease, project, version)
        while True:
            told = {**_summary(version, built), "chunks_embedded": embedded}
            told["chunks_reused"] = max(built.ntotal - embedded, 0)
            left = self._switch(lease, project, version, built, told)
            if left is not None:
                break
            embedded = self._embed_missing(lease, project, version, embedded)
        self.vectors.sweep(_key(project, version), built)
        if left != version:
            self.vectors.sweep(_key(project, left))
        return told

    def _complete(self, lease: Lease, project: Project, version: str) -> tuple[Built, int]:
        """A checkpoint of *version* that lacks no live chunk, and how many texts were embedded for it."""
        embedded = int(lease.claim.result.get("chunks_embedded", 0))
        while True:
            embedded = self._embed_missing(lease, project, version, embedded)
            built = self._build(lease, project, version)
            if built is not None:
                return built, embedded

    def _project(self, lease: Lease) -> Project:
        with self.database.read() as session:
            return session.get_one(Project, (lease.claim.team_id, lease.claim.project_id))

    def _build(self, lease: Lease, project: Project, version: str) -> Built | None:
        with self.database.read() as session:
            dimension = session.get_one(EmbeddingVersion, version).dimension
        return self.vectors.build(_key(project, version), dimension, check=lease.check)

    def _embed_missing(self, lease: Lease, project: Project, version: str, embedded: int) -> int:
        """Embed, step by step, what is live and has no vector of *version*. Returns how many in all."""
        lacking = without_vector(_key(project, version))
        with self.database.read() as session:
            left = session.scalar(select(func.count()).select_from(lacking.subquery())) or 0
        last_id, done = -1, max(project.live_chunks - left, 0)
        while True:
            with self.database.read() as session:
                query = lacking.where(Chunk.faiss_id > last_id)
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
            lease.give_way()

    def _switch(self, lease: Lease, project: Project, version: str, built: Built, told: Json) -> str | None:
        """Let *version* serve; the old index goes in the same commit. Returns the version that served before.

        None: something was published after *built* whose vectors are not there yet.
        """
        with lease.step(99, told) as session:
            current, _ = self.publisher.next_numbers(session, project)
            came_later = without_vector(_key(current, version)).where(Chunk.live_seq > built.covered_seq)
            if session.execute(came_later.limit(1)).first() is not None:
                return None
            left = current.embedding_version
            if left != version:
                self.vectors.forget(session, _key(current, left))
                current.embedding_version = version
            self.vectors.take_over(session, current, built)
            count_ingest(session, current, chunks=built.ntotal)
            return left


def _key(project: Project, version: str) -> Partition:
    return Partition(project.team_id, project.id, version)


def _summary(version: str, built: Built) -> Json:
    return {
        "embedding_version": version,
        "ntotal": built.ntotal,
        "dimension": built.dimension,
        "covered_seq": built.covered_seq,
    }
