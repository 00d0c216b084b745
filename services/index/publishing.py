"""The only place where a revision becomes visible or invisible. Everything here happens in the caller's transaction.

The transaction takes the project's next seq and stamps it on the chunks that appear (live_seq) and on those that
disappear (dead_seq). Taking it locks the project's row, so that seqs follow the order of commits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.orm import Session, defer

from database.batching import batched
from domain import ChunkContent, Partition
from engines.follower import Advance, Follower
from engines.vectors.base import Growth, VectorStore
from job_queue import JobQueue
from models import Chunk, Doc, DocStatus, EmbeddingVersion, IndexRow, Project, Revision, RevisionStatus, utc_now
from snapshot import chunk_contents

REBUILD = "rebuild_index"
DOCS_PER_QUERY = 128
IDS_PER_QUERY = 1000
KEY = ("team_id", "project_id", "doc_id", "revision")
_NEVER_LIVE = (RevisionStatus.PENDING, RevisionStatus.FAILED, RevisionStatus.CANCELLED)
_NO_SYNC: dict[str, Any] = {"synchronize_session": False}


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
            follower.follow(Advance(session, row, publications))
        return row, row.next_faiss_id - chunks

    def start_with_version(self, session: Session, project: Project, version: str) -> None:
        """Switch an unused project, whose row is locked, to *version*."""
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
        """Make each revision live in place of its doc's previous one, under the seq that *project* just took.

        A caller that writes the chunks, with live_seq, in this transaction passes them as *chunks*. Otherwise they are
        in the database and get live_seq here. Takes a few statements, however many docs there are.
        """
        retired = self._retire(session, project, docs)
        if chunks is None:
            chunks = _make_visible(session, project, revisions)
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

    def withdraw(self, session: Session, project: Project, docs: Sequence[Doc]) -> int:
        """Hide the docs from every search. Returns how many chunks they had."""
        retired = self._retire(session, project, docs)
        project.live_docs -= sum(doc.live_revision is not None for doc in docs)
        for doc in docs:
            doc.live_revision = None
        self._count_changes(session, project, retired)
        return retired

    def request_rebuild(self, session: Session, project: Project) -> str:
        return request_rebuild(self.queue, session, project)

    def _retire(self, session: Session, project: Project, docs: Sequence[Doc]) -> int:
        """Mark the docs' live revisions as retired and their chunks as dead. Returns how many chunks died."""
        live_ids = [doc.doc_id for doc in docs if doc.live_revision is not None]
        ids = [
            faiss_id
            for batch in batched(live_ids, DOCS_PER_QUERY)
            for faiss_id in _live_chunks(session, project, batch)
        ]
        for follower in self.followers if ids else ():
            follower.hide(session, project, ids)
        for batch in batched(ids, IDS_PER_QUERY):
            is_dying = and_(_in_project(Chunk, project), Chunk.faiss_id.in_(batch))
            change = update(Chunk).where(is_dying).values(dead_seq=project.seq, deleted_at=utc_now())
            session.execute(change, execution_options=_NO_SYNC)
        for doc_ids in batched(live_ids, DOCS_PER_QUERY):
            was_live = and_(
                _in_project(Revision, project), Revision.doc_id.in_(doc_ids), Revision.status == RevisionStatus.LIVE
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
            self.request_rebuild(session, project)


def _live_chunks(session: Session, project: Project, doc_ids: Sequence[str]) -> Iterator[int]:
    """Returns the ids of the docs' live chunks.

    Joins the docs: with live_seq and dead_seq as conditions, SQLite would scan the whole project.
    """
    same_revision = and_(
        Chunk.team_id == Doc.team_id,
        Chunk.project_id == Doc.project_id,
        Chunk.doc_id == Doc.doc_id,
        Chunk.revision == Doc.live_revision,
    )
    query = select(Chunk.faiss_id).join(Doc, same_revision).where(_in_project(Doc, project), Doc.doc_id.in_(doc_ids))
    return iter(session.scalars(query))


def _make_visible(session: Session, project: Project, revisions: Sequence[Revision]) -> list[ChunkContent]:
    """Set live_seq on the chunks of the revisions, and return the chunks."""
    chunks: list[ChunkContent] = []
    for is_appearing in _chunk_conditions(revisions):
        appearing = update(Chunk).where(_in_project(Chunk, project), is_appearing).values(live_seq=project.seq)
        session.execute(appearing, execution_options=_NO_SYNC)
        chunks += chunk_contents(session, project, is_appearing)
    return chunks


def _chunk_conditions(revisions: Sequence[Revision]) -> Iterator[ColumnElement[bool]]:
    """Yields conditions that select the revisions' chunks, in batches. A revision's chunk ids are contiguous.

    They list the ids: with several ranges SQLite would scan the whole project. Revisions of older releases lack
    *first_id* and are matched by key.
    """
    numbered = [each for each in revisions if each.first_id is not None]
    ids = [each.first_id + index for each in numbered if each.first_id is not None for index in range(each.chunk_count)]
    for batch in batched(ids, IDS_PER_QUERY):
        yield Chunk.faiss_id.in_(batch)
    for revision in revisions:
        if revision.first_id is None:
            yield chunks_of(revision)


def _in_project(table: type[Chunk | Doc | Revision], project: Project) -> ColumnElement[bool]:
    return and_(table.team_id == project.team_id, table.project_id == project.id)


def request_rebuild(queue: JobQueue, session: Session, project: Project) -> str:
    """Returns the id of the partition's only waiting rebuild job, queueing it if there is none."""
    return queue.create_job(session, REBUILD, {}, project=project, dedupe_key=REBUILD)


def supersede(session: Session, project: Project, doc_ids: Sequence[str]) -> None:
    """Drop what of the docs was never live, since newer revisions or a deletion replace it: pending revisions, and the
    chunks of failed ones.
    """
    for batch in batched(doc_ids, DOCS_PER_QUERY):
        is_newest = and_(*(getattr(Doc, name) == getattr(Revision, name) for name in KEY))
        query = select(Revision).join(Doc, is_newest).options(defer(Revision.text))
        query = query.where(_in_project(Doc, project), Doc.doc_id.in_(batch), Revision.status.in_(_NEVER_LIVE))
        for revision in session.scalars(query):
            if revision.status == RevisionStatus.PENDING:
                revision.status = RevisionStatus.SUPERSEDED
            is_waiting = and_(chunks_of(revision), Chunk.live_seq.is_(None))
            session.execute(delete(Chunk).where(is_waiting), execution_options=_NO_SYNC)


def chunks_of(revision: Revision) -> ColumnElement[bool]:
    return and_(
        Chunk.team_id == revision.team_id,
        Chunk.project_id == revision.project_id,
        Chunk.doc_id == revision.doc_id,
        Chunk.revision == revision.revision,
    )
