"""The one place where a revision becomes visible or invisible. Everything here happens in the caller's transaction.

The transaction takes the project's next number and stamps it on the chunks that appear (live_seq) and on those
that disappear (dead_seq). The row lock that taking it holds makes numbers follow the order of commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, and_, delete, select, update
from sqlalchemy.orm import Session

from domain import Partition
from engines.follower import Follower
from engines.vectors.base import Growth, VectorStore
from job_queue import JobQueue
from models import Chunk, Doc, DocStatus, EmbeddingVersion, IndexRow, Project, Revision, RevisionStatus, utc_now

REBUILD = "rebuild_index"


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes and retires revisions. *followers* act in the same transaction."""

    queue: JobQueue
    vectors: VectorStore
    followers: tuple[Follower, ...]

    def next_numbers(
        self, session: Session, project: Project, *, chunks: int = 0, publications: int = 1
    ) -> tuple[Project, int]:
        """Lock the project's row; take its next seq and *chunks* faiss ids. Returns the row and the first id."""
        query = (
            update(Project)
            .where(Project.team_id == project.team_id, Project.id == project.id)
            .values(seq=Project.seq + publications, next_faiss_id=Project.next_faiss_id + chunks)
            .returning(Project)
        )
        row = session.scalars(query, execution_options={"populate_existing": True}).one()
        for follower in self.followers:
            follower.follow(session, row, publications=publications)
        return row, row.next_faiss_id - chunks

    def start_under(self, session: Session, project: Project, version: str) -> None:
        """Let a project that was never used, and whose row is locked, serve *version* instead of its own."""
        self.vectors.forget(session, Partition(project.team_id, project.id, project.embedding_version))
        project.embedding_version = version
        dimension = session.get_one(EmbeddingVersion, version).dimension
        key = {"team_id": project.team_id, "project_id": project.id, "embedding_version": version}
        session.add(IndexRow(**key, dimension=dimension, vectors_seq=project.seq))
        session.flush()

    def publish(self, session: Session, project: Project, revision: Revision) -> None:
        """Show *revision* instead of whatever the doc showed, under the number that *project* just took.

        Its chunks carry live_seq already, or get it here.
        """
        doc = session.get_one(Doc, (project.team_id, project.id, revision.doc_id))
        retired = self._retire(session, project, doc)
        session.execute(update(Chunk).where(chunks_of(revision), Chunk.live_seq.is_(None)).values(live_seq=project.seq))
        for follower in self.followers:
            follower.show(session, project, chunks_of(revision))
        project.live_docs += 1 if doc.live_revision is None else 0
        project.live_chunks += revision.chunk_count
        doc.live_revision, doc.status, doc.error = revision.revision, DocStatus.READY, None
        doc.deleted_at, doc.updated_at = None, utc_now()
        revision.status = RevisionStatus.LIVE
        revision.published_seq, revision.published_at = project.seq, doc.updated_at
        self._count_changes(session, project, retired + revision.chunk_count)

    def withdraw(self, session: Session, project: Project, doc: Doc) -> int:
        """Hide the doc from every search. Returns how many chunks went."""
        retired = self._retire(session, project, doc)
        project.live_docs -= 1 if doc.live_revision is not None else 0
        doc.live_revision = None
        self._count_changes(session, project, retired)
        return retired

    def ask_for_rebuild(self, session: Session, project: Project) -> str:
        return ask_for_rebuild(self.queue, session, project)

    def _retire(self, session: Session, project: Project, doc: Doc) -> int:
        """Mark the doc's live revision retired, and its chunks dead.

        They are named by revision: by live_seq and dead_seq SQLite would walk through the whole project.
        """
        if doc.live_revision is None:
            return 0
        is_live = and_(
            Chunk.team_id == project.team_id,
            Chunk.project_id == project.id,
            Chunk.doc_id == doc.doc_id,
            Chunk.revision == doc.live_revision,
        )
        for follower in self.followers:
            follower.hide(session, project, is_live)
        dying = update(Chunk).where(is_live).values(dead_seq=project.seq, deleted_at=utc_now())
        done = session.execute(dying, execution_options={"synchronize_session": False})
        assert isinstance(done, CursorResult)
        was_live = and_(of_doc(project, doc.doc_id), Revision.revision == doc.live_revision)
        session.execute(update(Revision).where(was_live).values(status=RevisionStatus.RETIRED))
        project.live_chunks -= done.rowcount
        return done.rowcount

    def _count_changes(self, session: Session, project: Project, changes: int) -> None:
        partition = and_(
            IndexRow.team_id == project.team_id,
            IndexRow.project_id == project.id,
            IndexRow.embedding_version == project.embedding_version,
        )
        query = update(IndexRow).where(partition).values(changes=IndexRow.changes + changes)
        counted = session.execute(query.returning(IndexRow.changes, IndexRow.ntotal)).one()
        if self.vectors.is_rebuild_due(Growth(project.live_chunks, counted.ntotal, counted.changes)):
            self.ask_for_rebuild(session, project)


def ask_for_rebuild(queue: JobQueue, session: Session, project: Project) -> str:
    """The id of the partition's one waiting rebuild job."""
    return queue.create_job(session, REBUILD, {}, project=project, dedupe_key=REBUILD)


def of_doc(project: Project, doc_id: str) -> ColumnElement[bool]:
    return and_(Revision.team_id == project.team_id, Revision.project_id == project.id, Revision.doc_id == doc_id)


def drop_pending(session: Session, project: Project, doc_ids: Sequence[str], status: RevisionStatus) -> None:
    """Revisions that wait for their vectors and will not get them: whatever came later is what counts."""
    waiting = and_(
        Revision.team_id == project.team_id,
        Revision.project_id == project.id,
        Revision.doc_id.in_(doc_ids),
        Revision.status == RevisionStatus.PENDING,
    )
    for revision in session.scalars(select(Revision).where(waiting)):
        drop(session, revision, status)


def drop(session: Session, revision: Revision, status: RevisionStatus, error: str | None = None) -> None:
    """End a revision that was never seen: its chunks go, and the row says why."""
    revision.status, revision.error = status, error
    unseen: dict[str, Any] = {"synchronize_session": False}
    session.execute(delete(Chunk).where(chunks_of(revision), Chunk.live_seq.is_(None)), execution_options=unseen)


def chunks_of(revision: Revision) -> ColumnElement[bool]:
    return and_(
        Chunk.team_id == revision.team_id,
        Chunk.project_id == revision.project_id,
        Chunk.doc_id == revision.doc_id,
        Chunk.revision == revision.revision,
    )
