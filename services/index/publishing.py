"""The one place where a revision becomes visible or invisible. Everything here happens in the caller's transaction.

The transaction takes the project's next number and stamps it on the chunks that appear (live_seq) and on those
that disappear (dead_seq). The row lock that taking it holds makes numbers follow the order of commits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.orm import Session

from database.batching import batched
from domain import ChunkContent, Partition
from engines.follower import Follower
from engines.vectors.base import Growth, VectorStore
from job_queue import JobQueue
from models import Chunk, Doc, DocStatus, EmbeddingVersion, IndexRow, Project, Revision, RevisionStatus, utc_now
from snapshot import contents

REBUILD = "rebuild_index"
DOCS_PER_QUERY = 128
IDS_PER_QUERY = 1000
_UNSEEN: dict[str, Any] = {"synchronize_session": False}


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

    def publish(
        self,
        session: Session,
        project: Project,
        docs: Sequence[Doc],
        revisions: Sequence[Revision],
        chunks: Sequence[ChunkContent] | None = None,
    ) -> None:
        """Show each revision instead of whatever its doc showed, under the number that *project* just took.

        Given are the *chunks* of all of them, where the caller writes them, with live_seq, in this transaction.
        Otherwise they are in the database, and get live_seq here. Costs a few statements, however many docs there are.
        """
        retired = self._retire(session, project, docs)
        if chunks is None:
            chunks = _made_visible(session, project, revisions)
        for follower in self.followers:
            follower.show(session, project, chunks)
        now = utc_now()
        project.live_docs += sum(doc.live_revision is None for doc in docs)
        project.live_chunks += len(chunks)
        for doc, revision in zip(docs, revisions, strict=True):
            doc.live_revision, doc.status, doc.error = revision.revision, DocStatus.READY, None
            doc.deleted_at, doc.updated_at = None, now
            revision.status, revision.published_seq, revision.published_at = RevisionStatus.LIVE, project.seq, now
        self._count_changes(session, project, retired + len(chunks))

    def withdraw(self, session: Session, project: Project, doc: Doc) -> int:
        """Hide the doc from every search. Returns how many chunks went."""
        retired = self._retire(session, project, [doc])
        project.live_docs -= 1 if doc.live_revision is not None else 0
        doc.live_revision = None
        self._count_changes(session, project, retired)
        return retired

    def ask_for_rebuild(self, session: Session, project: Project) -> str:
        return ask_for_rebuild(self.queue, session, project)

    def _retire(self, session: Session, project: Project, docs: Sequence[Doc]) -> int:
        """Mark the live revisions of the docs retired, and their chunks dead. Returns how many chunks that were."""
        shown = [doc.doc_id for doc in docs if doc.live_revision is not None]
        ids = [faiss_id for some in batched(shown, DOCS_PER_QUERY) for faiss_id in _live_ids(session, project, some)]
        for follower in self.followers if ids else ():
            follower.hide(session, project, ids)
        for dying in batched(ids, IDS_PER_QUERY):
            which = and_(_in_project(Chunk, project), Chunk.faiss_id.in_(dying))
            change = update(Chunk).where(which).values(dead_seq=project.seq, deleted_at=utc_now())
            session.execute(change, execution_options=_UNSEEN)
        for some in batched(shown, DOCS_PER_QUERY):
            was_live = and_(
                _in_project(Revision, project), Revision.doc_id.in_(some), Revision.status == RevisionStatus.LIVE
            )
            session.execute(update(Revision).where(was_live).values(status=RevisionStatus.RETIRED))
        project.live_chunks -= len(ids)
        return len(ids)

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


def _live_ids(session: Session, project: Project, doc_ids: Sequence[str]) -> Iterator[int]:
    """The numbers of the chunks that the docs show.

    By way of the docs: by live_seq and dead_seq SQLite would walk through the whole project.
    """
    same = and_(
        Chunk.team_id == Doc.team_id,
        Chunk.project_id == Doc.project_id,
        Chunk.doc_id == Doc.doc_id,
        Chunk.revision == Doc.live_revision,
    )
    query = select(Chunk.faiss_id).join(Doc, same).where(_in_project(Doc, project), Doc.doc_id.in_(doc_ids))
    return iter(session.scalars(query))


def _made_visible(session: Session, project: Project, revisions: Sequence[Revision]) -> list[ChunkContent]:
    """Let the chunks of some revisions be live. Returns them."""
    chunks: list[ChunkContent] = []
    for some in batched(revisions, DOCS_PER_QUERY):
        which = or_(*map(_numbers_of, some))
        appearing = update(Chunk).where(_in_project(Chunk, project), which).values(live_seq=project.seq)
        session.execute(appearing, execution_options=_UNSEEN)
        chunks += contents(session, project, which)
    return chunks


def _numbers_of(revision: Revision) -> ColumnElement[bool]:
    """A revision's chunks are numbered without a gap. Those of an older version's revisions are found by its key."""
    if revision.first_id is None:
        return chunks_of(revision)
    return Chunk.faiss_id.between(revision.first_id, revision.first_id + revision.chunk_count - 1)


def _in_project(table: type[Chunk | Doc | Revision], project: Project) -> ColumnElement[bool]:
    return and_(table.team_id == project.team_id, table.project_id == project.id)


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
    session.execute(delete(Chunk).where(chunks_of(revision), Chunk.live_seq.is_(None)), execution_options=_UNSEEN)


def chunks_of(revision: Revision) -> ColumnElement[bool]:
    return and_(
        Chunk.team_id == revision.team_id,
        Chunk.project_id == revision.project_id,
        Chunk.doc_id == revision.doc_id,
        Chunk.revision == revision.revision,
    )
