"""The only place where a revision becomes visible or invisible. Everything here happens in the caller's transaction.

The transaction takes the project's next seq and stamps it on the chunks that appear (live_seq) and on those that
disappear (dead_seq). Taking it locks the project's row, so that seqs follow the order of commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, update
from sqlalchemy.orm import Session

from database.batching import batched
from database.prepared import attached, write_and_release
from domain import ChunkContent, Partition
from engines.follower import Advance, Follower
from engines.vectors.base import Growth, VectorStore
from errors import Overtaken
from job_queue import JobQueue
from models import (
    Chunk,
    Doc,
    DocStatus,
    EmbeddingVersion,
    IndexRow,
    Project,
    Revision,
    RevisionStatus,
    utc_now,
)
from services.index.announcing import record_deleted, record_indexed
from services.index.mirroring import CutDocs, Cuts, MirrorRows, hide_rows, mirrored_docs, read_mirror
from services.index.publication_rows import (
    COUNT_CHANGES,
    DELETE_CHUNKS,
    KILL_CHUNKS,
    LIVE_CHUNKS,
    PROJECT_NAMES,
    RETIRE,
    SHOW_CHUNKS,
    SUPERSEDE,
    TAKE_NUMBERS,
    TAKE_NUMBERS_IN_TURN,
    WAITING_REBUILD,
)
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
        self, session: Session, project: Project, *, chunks: int = 0, publications: int = 1, locks_team: bool = False
    ) -> tuple[Project, int]:
        """Lock the project's row; take its next seq and *chunks* faiss ids. Returns the row and the first id.

        *locks_team*: by the same statement lock the team's row first, so that its namespaces are written in turn.
        """
        key = {"the_team": project.team_id, "the_project": project.id}
        take_numbers = TAKE_NUMBERS_IN_TURN if locks_team else TAKE_NUMBERS
        [values] = take_numbers.rows(session, {**key, "publications": publications, "chunks": chunks})
        row = attached(session, Project, PROJECT_NAMES, values)
        with session.no_autoflush:
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
        *,
        cuts: Cuts | None = None,
    ) -> None:
        """Make each revision live in place of its doc's previous one, under the seq that *project* just took.

        A caller that writes the chunks, with live_seq, in this transaction passes them as *chunks*. Otherwise they are
        in the database and get live_seq here. Takes a few statements, however many docs there are.
        *cuts* are the chunks for the mirrors that follow; their vectors are stored. Raises Overtaken if one lacks.
        """
        cuts = cuts or {}
        if any(mirror.id not in cuts for mirror in project.following_mirrors):
            raise Overtaken
        with session.no_autoflush:  # the project's row is written once, at the end
            retired = self._retire(session, project, docs)
            if chunks is None:
                chunks = _make_visible(session, project, revisions)
            for follower in self.followers:
                follower.show(session, project, chunks)
        now = utc_now()
        project.live_docs += sum(doc.live_revision is None for doc in docs)
        project.live_chunks += len(chunks)
        project.live_bytes += sum(revision.byte_count for revision in revisions)
        for doc, revision in zip(docs, revisions, strict=True):
            doc.live_revision, doc.status, doc.error = revision.revision, DocStatus.READY, None
            doc.deleted_at, doc.updated_at = None, now
            revision.status, revision.published_seq, revision.published_at = RevisionStatus.LIVE, project.seq, now
        self._count_changes(session, project, retired + len(chunks))
        record_indexed(session, project, revisions)
        for mirror in project.following_mirrors if docs else ():
            self.mirror(session, project, mirror.id, docs, revisions, cuts[mirror.id])

    def mirror(
        self,
        session: Session,
        namespace: Project,
        mirror_id: int,
        docs: Sequence[Doc],
        revisions: Sequence[Revision],
        cut: CutDocs,
    ) -> None:
        """Publish the live revisions of *namespace*, whose row is locked, in its mirror, under the seq that it has."""
        mirror, first_id = self.follow(session, namespace, mirror_id, chunks=sum(map(len, cut.values())))
        existing = mirrored_docs(session, mirror, [doc.doc_id for doc in docs])
        rows = MirrorRows.of(mirror, existing, docs, revisions, cut, first_id=first_id)
        self.publish(session, mirror, rows.docs, rows.revisions, rows.contents)
        for mirrored, revision in zip(rows.revisions, revisions, strict=True):
            mirrored.published_at = revision.published_at
        rows.write(session)
        write_and_release(session, mirror)

    def redescribe(self, session: Session, namespace: Project, revision: Revision) -> None:
        """Give the document in each mirror that follows the description of its live revision, which has changed."""
        for each in namespace.following_mirrors:
            mirror, _ = self.follow(session, namespace, each.id)
            same = ("title", "source_type", "mime_type", "doc_metadata", "accepted_seq", "published_at")
            values = {getattr(Revision, name): getattr(revision, name) for name in same}
            of_doc = and_(Revision.team_id == mirror.team_id, Revision.project_id == mirror.id)
            is_live = and_(of_doc, Revision.doc_id == revision.doc_id, Revision.status == RevisionStatus.LIVE)
            change = update(Revision).where(is_live).values({**values, Revision.published_seq: mirror.seq})
            session.execute(change, execution_options=_NO_SYNC)
            write_and_release(session, mirror)

    def follow(self, session: Session, namespace: Project, mirror_id: int, *, chunks: int = 0) -> tuple[Project, int]:
        """Take the seq of *namespace*, whose row is locked, and *chunks* ids in its mirror. As next_numbers()."""
        mirror = read_mirror(session, namespace, mirror_id)
        return self.next_numbers(session, mirror, chunks=chunks, publications=namespace.seq - mirror.seq)

    def next_of(self, session: Session, project: Project) -> Project:
        """Lock a namespace and take its next seq; or of a mirror, lock its namespace and take that one's."""
        if project.mirror_of is None:
            return self.next_numbers(session, project)[0]
        namespace, _ = self.next_numbers(session, session.get_one(Project, (project.team_id, project.mirror_of)))
        return self.follow(session, namespace, project.id)[0]

    def withdraw(self, session: Session, project: Project, docs: Sequence[Doc]) -> int:
        """Hide the docs from every search, in all mirrors too. Returns how many chunks they had."""
        for each in project.all_mirrors:
            self.withdraw_from(session, project, each.id, [doc.doc_id for doc in docs])
        with session.no_autoflush:
            retired = self._retire(session, project, docs)
        project.live_docs -= sum(doc.live_revision is not None for doc in docs)
        for doc in docs:
            doc.live_revision = None
        self._count_changes(session, project, retired)
        record_deleted(session, project, docs)
        return retired

    def withdraw_from(self, session: Session, namespace: Project, mirror_id: int, doc_ids: Sequence[str]) -> None:
        mirror = read_mirror(session, namespace, mirror_id)
        docs = [doc for doc in mirrored_docs(session, mirror, doc_ids).values() if doc.live_revision is not None]
        if docs:
            mirror, _ = self.follow(session, namespace, mirror_id)
            self.withdraw(session, mirror, docs)
            hide_rows(session, mirror, docs)
            write_and_release(session, mirror)

    def request_rebuild(self, session: Session, project: Project) -> str:
        return request_rebuild(self.queue, session, project)

    def _retire(self, session: Session, project: Project, docs: Sequence[Doc]) -> int:
        """Mark the docs' live revisions as retired and their chunks as dead. Returns how many chunks died."""
        live_ids = [doc.doc_id for doc in docs if doc.live_revision is not None]
        if not live_ids:
            return 0
        key = {"the_team": project.team_id, "the_project": project.id}
        ids = [
            row[0]
            for batch in batched(live_ids, DOCS_PER_QUERY)
            for row in LIVE_CHUNKS.rows(session, {**key, "doc_ids": batch})
        ]
        for follower in self.followers if ids else ():
            follower.hide(session, project, ids)
        dead = {**key, "the_seq": project.seq, "now": utc_now()}
        for batch in batched(ids, IDS_PER_QUERY):
            KILL_CHUNKS.rows(session, {**dead, "faiss_ids": batch})
        for batch in batched(live_ids, DOCS_PER_QUERY):
            project.live_bytes -= sum(row[0] for row in RETIRE.rows(session, {**key, "doc_ids": batch}))
        project.live_chunks -= len(ids)
        return len(ids)

    def _count_changes(self, session: Session, project: Project, changes: int) -> None:
        key = {"the_team": project.team_id, "the_project": project.id}
        is_due = False
        for version in project.indexed_versions:
            for counted, built in COUNT_CHANGES.rows(session, {**key, "version": version, "more": changes}):
                is_due |= self.vectors.is_rebuild_due(Growth(project.live_chunks, built, counted))
        of_namespace = {"the_team": project.team_id, "the_project": project.namespace_id}
        if is_due and not WAITING_REBUILD.rows(session, {**of_namespace, "job_key": REBUILD}):
            self.request_rebuild(session, project)


def _make_visible(session: Session, project: Project, revisions: Sequence[Revision]) -> list[ChunkContent]:
    """Set live_seq on the chunks of the revisions, and return the chunks."""
    chunks: list[ChunkContent] = []
    key = {"the_team": project.team_id, "the_project": project.id}
    numbered = [each for each in revisions if each.first_id is not None]
    ids = [each.first_id + index for each in numbered if each.first_id is not None for index in range(each.chunk_count)]
    for batch in batched(ids, IDS_PER_QUERY):
        rows = SHOW_CHUNKS.rows(session, {**key, "faiss_ids": batch, "the_seq": project.seq})
        chunks += [ChunkContent(*row) for row in rows]
    for revision in revisions:
        if revision.first_id is None:  # of an older release
            appearing = update(Chunk).where(chunks_of(revision)).values(live_seq=project.seq)
            session.execute(appearing, execution_options=_NO_SYNC)
            chunks += chunk_contents(session, project, chunks_of(revision))
    return sorted(chunks)


def request_rebuild(queue: JobQueue, session: Session, project: Project) -> str:
    """Returns the id of the namespace's only waiting rebuild job, queueing it if there is none."""
    if project.mirror_of is not None:
        project = session.get_one(Project, (project.team_id, project.mirror_of))
    return queue.create_job(session, REBUILD, {}, project=project, dedupe_key=REBUILD)


def supersede(session: Session, project: Project, docs: Sequence[Doc]) -> None:
    """Drop what of the docs was never live, since newer revisions or a deletion replace it: pending revisions, and the
    chunks of failed ones. Only the newest revision of a doc can have such.
    """
    doc_ids = [doc.doc_id for doc in docs if doc.live_revision != doc.revision]
    for batch in batched(doc_ids, DOCS_PER_QUERY):
        parameters = {"the_team": project.team_id, "the_project": project.id, "doc_ids": batch}
        SUPERSEDE.rows(session, parameters)
        DELETE_CHUNKS.rows(session, parameters)


def chunks_of(revision: Revision) -> ColumnElement[bool]:
    return and_(
        Chunk.team_id == revision.team_id,
        Chunk.project_id == revision.project_id,
        Chunk.doc_id == revision.doc_id,
        Chunk.revision == revision.revision,
    )
