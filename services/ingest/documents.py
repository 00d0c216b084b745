"""Upserts, accepts and deletes documents, each in one transaction. preparing.py does what comes before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from database.engine import Database
from database.repeating import repeatable
from domain import ChunkContent
from errors import Conflict, Invalid, Overtaken
from job_queue import JobQueue
from models import Chunk, Doc, DocStatus, File, Project, Revision, RevisionStatus, utc_now
from services.index import namespaces
from services.index.counting import count_ingest
from services.index.embedding import EmbeddingService
from services.index.publishing import Publisher, supersede
from services.ingest.drafts import Limits, NewDoc, UpsertResult
from services.ingest.pending_blobs import attach
from services.ingest.planning import WritePlan, check_hash
from services.ingest.preparing import Preparing
from services.ingest.rows import chunk_rows, describe, docs_by_id, file_row, newest_revisions, require_doc, revision_row

INGEST = "ingest_docs"
MAX_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Deletion:
    chunks_deleted: int
    job_id: str


@dataclass(frozen=True)
class DocumentService:
    database: Database
    queue: JobQueue
    embedding: EmbeddingService
    publisher: Publisher
    preparing: Preparing

    @property
    def limits(self) -> Limits:
        return self.preparing.limits

    @repeatable
    def upsert(self, docs: Sequence[NewDoc]) -> UpsertResult:
        """Store, embed and publish the documents, all or none. They are searchable when this returns."""
        return self._retry_overtaken(self._upsert_once, docs)

    @repeatable
    def accept(self, docs: Sequence[NewDoc]) -> UpsertResult:
        """Store the documents and the job that will embed and publish them. They become searchable later."""
        if len({doc.tenant_id for doc in docs}) > 1:
            raise Invalid(
                "One tenant per batch with async_mode: a job belongs to one. Send a batch for each.", param="docs"
            )
        return self._retry_overtaken(self._accept_once, docs)

    @repeatable
    def delete(self, tenant_id: str, namespace: str, doc_id: str, *, expected_hash: str | None = None) -> Deletion:
        """Hide the document from every search at once; its vectors leave the checkpoint with the next rebuild."""
        self.database.make_room_to_delete()
        with self.database.write() as session:
            project = namespaces.require(session, tenant_id, namespace)
            project, _ = self.publisher.next_numbers(session, project)
            current = require_doc(session, project, doc_id)
            check_hash(doc_id, current.revision, expected_hash)
            supersede(session, project, [doc_id])
            retired = self.publisher.withdraw(session, project, [current.doc])
            current.doc.revision += 1
            current.doc.deleted_at = current.doc.updated_at = utc_now()
            return Deletion(retired, self.publisher.request_rebuild(session, project))

    def _retry_overtaken(self, attempt: Callable[[list[NewDoc]], UpsertResult], docs: Sequence[NewDoc]) -> UpsertResult:
        checked = self.preparing.check(docs)
        for _ in range(MAX_ATTEMPTS):
            with suppress(Overtaken):
                skipped = len(docs) - len(checked)
                return attempt(checked) + UpsertResult(accepted=len(docs), skipped_docs=skipped)
        raise Conflict("These documents are being changed by others without a pause: try again.")

    def _upsert_once(self, docs: list[NewDoc]) -> UpsertResult:
        plans, done = self._plan(docs, present_statuses=[RevisionStatus.LIVE])
        if not plans:
            return done
        plans = [self.preparing.embed(plan) for plan in plans]
        with self.database.write() as session:
            for plan in plans:
                project, first_id = self._begin(session, plan, publications=1)
                self.embedding.store(session, project.team_id, project.embedding_version, plan.vectors)
                rows = _rows(session, project, plan, first_id=first_id, live_seq=project.seq)
                self.publisher.publish(session, project, rows.docs, rows.revisions, rows.contents)
                rows.write(session)
                count_ingest(session, project, requests=1, chunks=plan.chunk_count, embedded=plan.embedded)
                done += UpsertResult(
                    upserted_docs=len(plan.changes.new) + len(plan.changes.redescribed),
                    chunks_created=plan.chunk_count,
                    chunks_embedded=plan.embedded,
                    chunks_reused=plan.chunk_count - plan.embedded,
                )
        return done

    def _accept_once(self, docs: list[NewDoc]) -> UpsertResult:
        plans, done = self._plan(docs, present_statuses=[RevisionStatus.LIVE, RevisionStatus.PENDING])
        job_id = None
        if not plans:
            return done
        with self.database.write() as session:
            for plan in plans:
                redescribed = len(plan.changes.redescribed)
                project, first_id = self._begin(session, plan, publications=1 if redescribed else 0)
                done += UpsertResult(upserted_docs=redescribed)
                if plan.drafts:
                    job_id = job_id or self.queue.create_job(session, INGEST, {}, project=project, dedupe_key=None)
                    self.embedding.store(session, project.team_id, project.embedding_version, plan.vectors)
                    _rows(session, project, plan, first_id=first_id, job_id=job_id).write(session)
                count_ingest(session, project, requests=1)
        return replace(done, job_id=job_id or done.job_id)

    def _plan(
        self, docs: list[NewDoc], *, present_statuses: Sequence[RevisionStatus]
    ) -> tuple[list[WritePlan], UpsertResult]:
        """Returns a plan per namespace that needs a write, and the result for the documents that need none."""
        plans, done = [], UpsertResult()
        for tenant_id, namespace, project, changes in self.preparing.compare(docs, present_statuses=present_statuses):
            done += UpsertResult(skipped_docs=changes.skipped, job_id=changes.waiting_job)
            if changes.new or changes.redescribed:
                plans.append(self.preparing.plan(tenant_id, namespace, project, changes))
        return plans, done

    def _begin(self, session: Session, plan: WritePlan, *, publications: int) -> tuple[Project, int]:
        """Lock the namespace and take numbers. Raises Overtaken if the plan is outdated."""
        project, first_id = self.publisher.next_numbers(
            session, plan.project, chunks=plan.chunk_count, publications=publications
        )
        if project.embedding_version != plan.project.embedding_version:
            raise Overtaken
        if project.embedding_version != plan.version:
            if not namespaces.is_unused(session, project):
                raise Overtaken
            self.publisher.start_with_version(session, project, plan.version)
        for new_doc in plan.changes.redescribed:
            doc, revision = newest_revisions(session, project, [new_doc.doc_id])[new_doc.doc_id]
            if doc.revision != new_doc.base_revision or doc.deleted_at is not None:
                raise Overtaken
            describe(revision, new_doc)
            revision.accepted_seq = project.seq
            doc.updated_at = utc_now()
            if revision.status == RevisionStatus.LIVE:
                revision.published_seq, revision.published_at = project.seq, doc.updated_at
        return project, first_id


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows to write for some documents. All are new except those of existing docs."""

    docs: list[Doc] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)
    chunks: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def contents(self) -> list[ChunkContent]:
        return [ChunkContent(row["faiss_id"], row["embed_hash"], row["text"], row["header"]) for row in self.chunks]

    def write(self, session: Session) -> None:
        """Write table by table, referenced rows first."""
        for rows in (self.docs, self.revisions, self.files):
            session.add_all(rows)
            session.flush()
        for blob in self.blobs:
            attach(session, blob)
        if self.chunks:
            session.execute(insert(Chunk), self.chunks)


def _rows(
    session: Session,
    project: Project,
    plan: WritePlan,
    *,
    first_id: int,
    live_seq: int | None = None,
    job_id: str | None = None,
) -> _Rows:
    """Returns the rows of the new revisions. Drops what of the same documents was never live."""
    new, rows = plan.changes.new, _Rows()
    doc_ids = [doc.doc_id for doc in new]
    supersede(session, project, doc_ids)
    existing = docs_by_id(session, project, doc_ids)
    for new_doc, draft in zip(new, plan.drafts, strict=True):
        doc = _next_doc(project, new_doc, existing.get(new_doc.doc_id))
        revision = revision_row(draft, project, doc, first_id=first_id, job_id=job_id)
        rows.docs.append(doc)
        rows.revisions.append(revision)
        if new_doc.file is not None:
            rows.files.append(file_row(new_doc, new_doc.file, revision))
            rows.blobs.append(new_doc.file.blob)
        rows.chunks.extend(chunk_rows(draft, revision, first_id=first_id, live_seq=live_seq))
        first_id += len(draft.spans)
    return rows


def _next_doc(project: Project, new_doc: NewDoc, doc: Doc | None) -> Doc:
    """Returns the doc's row, new if there is none, with the number of the revision that is being accepted."""
    has_precondition = new_doc.must_be_new or new_doc.expected_hash is not None
    if has_precondition and (doc.revision if doc else 0) != new_doc.base_revision:
        raise Overtaken
    doc = doc or Doc(team_id=project.team_id, project_id=project.id, doc_id=new_doc.doc_id, revision=0)
    doc.revision += 1
    doc.status = DocStatus.UPLOADED if new_doc.file else DocStatus.PROCESSING
    doc.error, doc.deleted_at, doc.updated_at = None, None, utc_now()
    return doc
