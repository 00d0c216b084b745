"""The worker's side of an index: writes checkpoints, and moves a namespace to another embedding version."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy import func, select

from database.engine import Database
from domain import BuildResult, Json, Partition
from engines.keywords.base import KeywordStore
from engines.vectors.base import VectorStore
from errors import Invalid
from job_lease import Estimate, Lease
from models import Chunk, EmbeddingVersion, Project
from services.index.counting import count_ingest
from services.index.embedding import EmbeddingService
from services.index.pacing import Pace
from services.index.publishing import Publisher
from services.index.stored_vectors import of_chunks
from services.index.version_rows import rename, require_only_version
from snapshot import chunks_without_vector
from text.enrich import embedded_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexingService:
    database: Database
    vectors: VectorStore
    keywords: KeywordStore
    embedding: EmbeddingService
    publisher: Publisher

    def rebuild(self, lease: Lease) -> Json:
        """Rebuild the namespace's indexes, or re-embed it under another version if the job says so.

        Returns the result for the version that serves; its other versions are rebuilt beside it.
        """
        project = self._project(lease)
        for indexed in (project, *self._mirrors(project)):
            self.keywords.repair(indexed, check=lease.give_way)
        if lease.claim.payload.get("reembed"):
            return self._reembed(lease, project, str(lease.claim.payload["new_embedding_version"]))
        serving, *others = project.indexed_versions
        result = self._rebuild_partition(lease, project, serving)
        for version in others:
            self._rebuild_partition(lease, project, version)
        for mirror in self._mirrors(project):
            self._rebuild_partition(lease, mirror, mirror.embedding_version)
        return result

    def _mirrors(self, project: Project) -> list[Project]:
        """Those that follow; the others are being built."""
        with self.database.read() as session:
            return [session.get_one(Project, (project.team_id, each.id)) for each in project.following_mirrors]

    def _rebuild_partition(self, lease: Lease, project: Project, version: str) -> Json:
        current_build = self.vectors.current_build(partition_of(project, version))
        if current_build is not None:
            return {**summary(version, current_build), "unchanged": True}
        built, _ = self.complete(lease, project, version)
        with lease.step(99, summary(version, built)) as session:
            current, _ = self.publisher.next_numbers(session, project, publications=0)
            if version in current.indexed_versions and current.erased_at is None:
                self.vectors.take_over(session, current, version, built)
        self.vectors.sweep(partition_of(project, version), built)
        return summary(version, built)

    def _reembed(self, lease: Lease, project: Project, version: str) -> Json:
        """Compute all vectors of *version* while the old version serves, then switch in one commit.

        What is published after the checkpoint's snapshot is its tail; the switch waits until the tail has vectors too.
        """
        self.embedding.embedder(version)  # fail early: a model that cannot be loaded cannot embed queries either
        built, embedded = self.complete(lease, project, version)
        while True:
            result = {**summary(version, built), "chunks_embedded": embedded}
            result["chunks_reused"] = max(built.ntotal - embedded, 0)
            previous = self._switch(lease, project, version, built, result)
            if previous is not None:
                break
            embedded = self.embed_missing(lease, project, version, embedded)
        self.vectors.sweep(partition_of(project, version), built)
        if previous != version:
            self.vectors.sweep(partition_of(project, previous))
        return result

    def complete(
        self, lease: Lease, project: Project, version: str, embedded: int | None = None
    ) -> tuple[BuildResult, int]:
        """Returns a complete checkpoint of *version*, and how many texts this job has embedded: *embedded* before."""
        embedded = int(lease.claim.result.get("chunks_embedded", 0)) if embedded is None else embedded
        while True:
            embedded = self.embed_missing(lease, project, version, embedded)
            built = self._build(lease, project, version)
            if built is not None:
                return built, embedded

    def _project(self, lease: Lease) -> Project:
        with self.database.read() as session:
            return session.get_one(Project, (lease.claim.team_id, lease.claim.project_id))

    def _build(self, lease: Lease, project: Project, version: str) -> BuildResult | None:
        with self.database.read() as session:
            dimension = session.get_one(EmbeddingVersion, version).dimension
        return self.vectors.build(partition_of(project, version), dimension, check=lease.check)

    def embed_missing(self, lease: Lease, project: Project, version: str, embedded: int) -> int:
        """Embed step by step the live chunks without a vector of *version*. Returns the job's total so far."""
        missing = chunks_without_vector(partition_of(project, version))
        with self.database.read() as session:
            remaining = session.scalar(select(func.count()).select_from(missing.subquery())) or 0
        last_id, done, pace = -1, max(project.live_chunks - remaining, 0), Pace()
        while True:
            with self.database.read() as session:
                query = missing.where(Chunk.faiss_id > last_id)
                rows = session.execute(query.order_by(Chunk.faiss_id).limit(pace.texts_per_step)).all()
            if not rows:
                return embedded
            texts = {row.embed_hash: embedded_text(row.text, row.header) for row in rows}
            with pace.measured(len(texts)):
                vectors = self.embedding.embed(version, texts)
            last_id, done, embedded = rows[-1].faiss_id, done + len(rows), embedded + len(vectors)
            progress = min(95, 95 * done // max(project.live_chunks, 1))
            left = pace.seconds_left(max(project.live_chunks - done, 0))
            estimate = Estimate(done, max(project.live_chunks, done), left)
            with lease.step(progress, {"chunks_embedded": embedded}, estimate) as session:
                kept = of_chunks(session, project.team_id, vectors)
                self.embedding.store(session, project.team_id, version, kept)
                count_ingest(session, project, embedded=len(vectors))
            lease.give_way()

    def _switch(self, lease: Lease, project: Project, version: str, built: BuildResult, result: Json) -> str | None:
        """Let *version* serve and delete the old index in one commit. Returns the version that served before.

        Returns None, and does not switch, if chunks published after *built* still lack vectors.
        """
        with lease.step(99, result) as session:
            current, _ = self.publisher.next_numbers(session, project)
            unembedded = chunks_without_vector(partition_of(current, version)).where(Chunk.live_seq > built.covered_seq)
            if session.execute(unembedded.limit(1)).first() is not None:
                return None
            previous = current.embedding_version
            if previous != version:
                require_only_version(session, current, version, error=Invalid)
                self.vectors.forget(session, partition_of(current, previous))
                current.embedding_version = version
                rename(session, current, previous)
            self.vectors.take_over(session, current, version, built)
            count_ingest(session, current, chunks=built.ntotal)
            return previous


def partition_of(project: Project, version: str) -> Partition:
    return Partition(project.team_id, project.id, version)


def summary(version: str, built: BuildResult) -> Json:
    return {
        "embedding_version": version,
        "ntotal": built.ntotal,
        "dimension": built.dimension,
        "covered_seq": built.covered_seq,
    }
