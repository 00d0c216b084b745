"""The job that makes a version complete, beside the one that serves: in steps, and then in one commit it follows."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.orm import Session

from database.engine import Database
from domain import BuildResult, Json
from errors import Invalid
from job_lease import Lease
from models import Chunk, IndexVersion, Project
from services.index.counting import count_ingest
from services.index.indexing import IndexingService, partition_of, summary
from services.index.namespaces import EXTERNAL
from services.index.version_rows import AT_ONCE, VersionRows, read_rows, serve
from snapshot import chunks_without_vector


@dataclass(frozen=True)
class VersionBuilder:
    database: Database
    indexing: IndexingService

    def build(self, lease: Lease) -> Json:
        """Embed what the version lacks, build its index, and let it follow from then on. Returns the job's result.

        What is published meanwhile is embedded before the commit that lets it follow, so that nothing is missing then.
        """
        name, version = str(lease.claim.payload["name"]), str(lease.claim.payload["embedding_version"])
        project = self._begin(lease, name)
        self.indexing.embedding.embedder(version)  # fail early: a model that cannot be loaded embeds no query either
        built, embedded = self.indexing.complete(lease, project, version)
        while True:
            result = {"index_version": name, **summary(version, built), "chunks_embedded": embedded}
            result["chunks_reused"] = max(built.ntotal - embedded, 0)
            if self._follow(lease, project, name, built, result):
                break
            embedded = self.indexing.embed_missing(lease, project, version, embedded)
        self.indexing.vectors.sweep(partition_of(project, version), built)
        return result

    def _begin(self, lease: Lease, name: str) -> Project:
        """Name this job in the version's row: a retry is a job of its own."""
        claim = lease.claim
        own = (IndexVersion.team_id == claim.team_id, IndexVersion.project_id == claim.project_id)
        with lease.step(0, dict(claim.result)) as session:
            session.execute(update(IndexVersion).where(*own, IndexVersion.name == name).values(job_id=claim.job_id))
            return session.get_one(Project, (claim.team_id, claim.project_id))

    def _follow(self, lease: Lease, project: Project, name: str, built: BuildResult, result: Json) -> bool:
        """Returns False, and changes nothing, if chunks published after *built* still lack vectors."""
        version = str(result["embedding_version"])
        with lease.step(99, result) as session:
            current, _ = self.indexing.publisher.next_numbers(session, project, publications=0)
            rows = read_rows(session, current)
            row = _row(rows, name, version)
            unembedded = chunks_without_vector(partition_of(current, version)).where(Chunk.live_seq > built.covered_seq)
            if session.execute(unembedded.limit(1)).first() is not None:
                return False
            self.indexing.vectors.take_over(session, current, version, built)
            rows.follow(row)
            count_ingest(session, current, chunks=built.ntotal)
            self._serve_at_once(session, rows, row)
        return True

    def _serve_at_once(self, session: Session, rows: VersionRows, row: IndexVersion) -> None:
        if row.activate == AT_ONCE and row.activated_at is None:
            session.flush()
            serve(session, self.indexing.publisher, rows, row)


def _row(rows: VersionRows, name: str, version: str) -> IndexVersion:
    row = rows.find(name)
    if row is None or row.embedding_version != version:
        raise Invalid(f"Version {name!r} was deleted while it was built.")
    if rows.project.embedding_version.startswith(EXTERNAL):
        raise Invalid("The vectors of this namespace are external by now: no model can compute a second version.")
    return row
