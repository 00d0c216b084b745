"""Upserts, accepts and deletes documents, each in one transaction. preparing.py does what comes before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from database.engine import Database, DatabaseKind
from database.prepared import write_and_release
from database.repeating import repeatable
from domain import Amounts
from errors import Conflict, Invalid, Overtaken
from job_queue import JobQueue
from models import Project, Revision, RevisionStatus, utc_now
from services.index import namespaces
from services.index.announcing import record_indexed
from services.index.auditing import record
from services.index.counting import count_ingest
from services.index.embedding import EmbeddingService
from services.index.publishing import Publisher, supersede
from services.index.quotas import stored_in
from services.index.stored_vectors import require_stored
from services.ingest.drafts import Limits, NewDoc, UpsertResult
from services.ingest.mirrored import cuts_of
from services.ingest.planning import WritePlan, check_hash
from services.ingest.preparing import Preparing
from services.ingest.rows import describe, newest_revisions, require_doc
from services.ingest.writing import NewRows

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
            supersede(session, project, [current.doc])
            retired = self.publisher.withdraw(session, project, [current.doc])
            current.doc.revision += 1
            current.doc.deleted_at = current.doc.updated_at = utc_now()
            job_id = self.publisher.request_rebuild(session, project)
            details = {"namespace": namespace, "chunks_deleted": retired}
            record(session, "document.deleted", tenant_id=tenant_id, object=doc_id, **details)
            return Deletion(retired, job_id)

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
        return done + self.publish([self.preparing.embed(plan) for plan in plans])

    def publish(self, plans: Sequence[WritePlan]) -> UpsertResult:
        """Store and publish what is embedded, in one transaction. Raises Overtaken if a plan is outdated."""
        done = UpsertResult()
        with self.database.write() as session:
            for plan in plans:
                project, first_id = self._begin(session, plan, publications=1)
                stored = stored_in(project)
                self._store_vectors(session, project, plan, {*plan.texts, *plan.vectors})
                rows = NewRows.of(session, project, plan, first_id=first_id, live_seq=project.seq)
                self.publisher.publish(
                    session, project, rows.docs, rows.revisions, rows.contents, cuts=cuts_of(plan.mirrored)
                )
                rows.write(session)
                self.preparing.quotas.check(session, project, stored, embedded=plan.computed)
                count_ingest(session, project, requests=1, chunks=plan.chunk_count, embedded=plan.computed)
                write_and_release(session, project)
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
                    self._foresee(session, plan)
                    job_id = job_id or self.queue.create_job(session, INGEST, {}, project=project, dedupe_key=None)
                    self._store_vectors(session, project, plan, set(plan.vectors))
                    NewRows.of(session, project, plan, first_id=first_id, job_id=job_id).write(session)
                count_ingest(session, project, requests=1)
        return replace(done, job_id=job_id or done.job_id)

    def _store_vectors(self, session: Session, project: Project, plan: WritePlan, hashes: set[bytes]) -> None:
        """Raises Overtaken if one of *hashes*, which the documents need, was erased meanwhile.

        On SQLite nobody can have erased what this transaction has just stored.
        """
        is_alone = self.database.kind is DatabaseKind.SQLITE
        for version, vectors in {plan.version: plan.vectors, **plan.other_vectors}.items():
            self.embedding.store(session, project.team_id, version, vectors)
            require_stored(session, project.team_id, version, hashes - vectors.keys() if is_alone else hashes)
        for mirrored in plan.mirrored:
            self.preparing.recutting.store(session, project, mirrored, is_alone=is_alone)

    def _foresee(self, session: Session, plan: WritePlan) -> None:
        """Refuses what the worker could not publish. How many texts it will have to embed is not known yet."""
        embedded = Amounts(embedded_chunks_per_day=min(1, len(plan.texts)))
        self.preparing.quotas.foresee(session, plan.project, plan.growth + embedded)

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
            session,
            plan.project,
            chunks=plan.chunk_count,
            publications=publications,
            locks_team=self.preparing.quotas.concern(plan.project),
        )
        if project.version_set != plan.project.version_set or project.erased_at is not None:
            raise Overtaken
        if plan.version not in project.version_set:
            if not namespaces.is_unused(session, project):
                raise Overtaken
            self.publisher.start_with_version(session, project, plan.version)
        redescribed, described = plan.changes.redescribed, list[Revision]()
        newest = newest_revisions(session, project, [new_doc.doc_id for new_doc in redescribed]) if redescribed else {}
        for new_doc in redescribed:
            doc, revision = newest[new_doc.doc_id]
            if doc.revision != new_doc.base_revision or doc.deleted_at is not None:
                raise Overtaken
            describe(revision, new_doc)
            revision.accepted_seq = project.seq
            doc.updated_at = utc_now()
            if revision.status == RevisionStatus.LIVE:
                revision.published_seq, revision.published_at = project.seq, doc.updated_at
                described.append(revision)
                self.publisher.redescribe(session, project, revision)
        record_indexed(session, project, described)
        return project, first_id
