"""The job that makes a version complete, beside the one that serves: in steps, and then in one commit it follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from database.engine import Database
from domain import BuildResult, Json, Mirror
from errors import Invalid
from job_lease import Lease
from models import Chunk, IndexVersion, Project
from services.index.counting import count_ingest
from services.index.indexing import IndexingService, partition_of, summary
from services.index.mirroring import behind
from services.index.namespaces import EXTERNAL
from services.index.version_rows import AT_ONCE, VersionRows, mirror_of_row, read_rows, serve
from snapshot import chunks_without_vector

CatchUp = Callable[[Lease, Project, Mirror, Json], int]
"""Writes into a mirror the live documents that it does not have as they are now. The JSON is the job's result.

Returns the seq of the namespace up to which the mirror has all of them.
"""


@dataclass(frozen=True)
class VersionBuilder:
    database: Database
    indexing: IndexingService

    def build(self, lease: Lease, catch_up: CatchUp) -> Json:
        """Embed what the version lacks, build its index, and let it follow from then on. Returns the job's result.

        A version with chunks of its own is given the documents that it lacks first, by *catch_up*. What is published
        meanwhile is cut and embedded before the commit that lets it follow, so that nothing is missing then.
        """
        name, version = str(lease.claim.payload["name"]), str(lease.claim.payload["embedding_version"])
        namespace, row = self._begin(lease, name)
        self.indexing.embedding.embedder(version)  # fail early: a model that cannot be loaded embeds no query either
        mirror, embedded = mirror_of_row(namespace, row), int(lease.claim.result.get("chunks_embedded", 0))
        built: BuildResult | None = None
        covered_seq = 0
        while True:
            if mirror is not None:
                covered_seq = catch_up(lease, namespace, mirror, {"chunks_embedded": embedded})
            project = self._indexed(row)
            if built is None:
                built, embedded = self.indexing.complete(lease, project, version, embedded)
            else:
                embedded = self.indexing.embed_missing(lease, project, version, embedded)
            result = {"index_version": name, **summary(version, built), "chunks_embedded": embedded}
            result["chunks_reused"] = max(built.ntotal - embedded, 0)
            if self._follow(lease, namespace, name, built, result, covered_seq=covered_seq):
                break
        self.indexing.vectors.sweep(partition_of(project, version), built)
        return result

    def _begin(self, lease: Lease, name: str) -> tuple[Project, IndexVersion]:
        """Name this job in the version's row: a retry is a job of its own."""
        claim = lease.claim
        with lease.step(0, dict(claim.result)) as session:
            project = session.get_one(Project, (claim.team_id, claim.project_id))
            row = _row(read_rows(session, project), name, str(claim.payload["embedding_version"]))
            row.job_id = claim.job_id
            return project, row

    def _indexed(self, row: IndexVersion) -> Project:
        with self.database.read() as session:
            return session.get_one(Project, (row.team_id, row.chunks_of))

    def _follow(
        self, lease: Lease, namespace: Project, name: str, built: BuildResult, result: Json, *, covered_seq: int
    ) -> bool:
        """Returns False, and changes nothing, if what was published after *built* is not complete yet, or documents
        that were published after *covered_seq* are not in the mirror.
        """
        version = str(result["embedding_version"])
        with lease.step(99, result) as session:
            current, _ = self.indexing.publisher.next_numbers(session, namespace, publications=0)
            rows = read_rows(session, current)
            row = _row(rows, name, version)
            indexed = current
            if row.chunks_of != current.id:
                if session.execute(behind(current, row.chunks_of, since=covered_seq).limit(1)).first() is not None:
                    return False
                indexed, _ = self.indexing.publisher.follow(session, current, row.chunks_of)
            unembedded = chunks_without_vector(partition_of(indexed, version)).where(Chunk.live_seq > built.covered_seq)
            if session.execute(unembedded.limit(1)).first() is not None:
                return False
            self.indexing.vectors.take_over(session, indexed, version, built)
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
