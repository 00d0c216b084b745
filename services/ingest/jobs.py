"""Lists and cancels jobs, requests rebuilds, and ends jobs together with their documents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from database.engine import Database
from database.repeating import repeatable
from domain import ANYONE, JobStatus, Json, ListedStatus, Principal, outcome_of
from errors import Conflict, Invalid
from event_log import record_finished
from job_lease import Claim
from job_queue import FINISHED, JobQueue
from models import Job, Project, RevisionStatus, Team
from services.index import namespaces
from services.index.auditing import record
from services.index.embedding import EmbeddingService
from services.index.namespaces import EXTERNAL
from services.index.publishing import REBUILD, Publisher
from services.index.version_names import VersionNames
from services.index.version_rows import require_only_version
from services.ingest.ingesting import abandon


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """*result* is what was done, document by document where some failed; *error* why the job or its last try failed.

    *outcome* is None until the job has ended. *seconds_left* is an estimate of the work that is left; None: unknown.
    """

    job_id: str
    type: str
    status: JobStatus
    outcome: ListedStatus | None
    progress: int
    chunks_done: int | None
    chunks_total: int | None
    seconds_left: int | None
    failed_documents: int
    retried_as: str | None
    error: str | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    tenant_id: str
    namespace: str
    attempts: int
    cancel_requested: bool
    result: Json | None
    request_id: str | None


@dataclass(frozen=True)
class JobService:
    database: Database
    queue: JobQueue
    embedding: EmbeddingService
    publisher: Publisher

    def get(self, job_id: str, *, tenant_id: str | None = None) -> JobInfo:
        return _info(*self.queue.get(job_id, tenant_id=tenant_id))

    def page(
        self,
        *,
        limit: int,
        after: str | None = None,
        status: ListedStatus | None = None,
        type: str | None = None,
        tenant_id: str | None = None,
        namespace: str | None = None,
    ) -> list[JobInfo]:
        """The newest jobs first, from behind the job *after* on; at most *limit* of them."""
        rows = self.queue.page(
            limit=limit, after=after, status=status, type=type, tenant_id=tenant_id, namespace=namespace
        )
        return [_info(*row) for row in rows]

    @repeatable
    def rebuild(
        self, tenant_id: str, namespace: str, *, reembed: bool, new_version: str | None, by: Principal = ANYONE
    ) -> str:
        """Queue a rebuild and return its job_id, or that of the rebuild that is already waiting.

        A new version name is bound to this process's own model, permanently and for every team: raises Forbidden
        unless *by* is an operator.
        """
        if new_version is not None and not reembed:
            raise Invalid(
                "new_embedding_version needs reembed=true: vectors of another version have to be computed first.",
                param="new_embedding_version",
            )
        with self.database.read() as session:
            namespaces.require(session, tenant_id, namespace)
        version = new_version or self.embedding.version
        if reembed and version.startswith(EXTERNAL):
            raise Invalid(
                f"Names that begin with {EXTERNAL} stand for external vectors: no model can compute them.",
                param="new_embedding_version",
            )
        if new_version is not None:
            names = VersionNames(self.database, self.embedding)
            names.require_may_use(new_version, by, param="new_embedding_version")
        if reembed:
            self.embedding.ensure_registered(version)
        with self.database.write() as session:
            project = namespaces.require(session, tenant_id, namespace)
            if not reembed:
                job_id = self.publisher.request_rebuild(session, project)
                record(session, "index.rebuild_requested", tenant_id=tenant_id, object=namespace, job_id=job_id)
                return job_id
            require_only_version(session, project, version, error=Conflict)
            payload = {"reembed": True, "new_embedding_version": version}
            key = f"{REBUILD}:{version}"
            job_id = self.queue.create_job(session, REBUILD, payload, project=project, dedupe_key=key)
            details = {"job_id": job_id, "embedding_version": version}
            record(session, "index.reembed_requested", tenant_id=tenant_id, object=namespace, **details)
            return job_id

    @repeatable
    def cancel(self, job_id: str, *, tenant_id: str | None = None) -> Job:
        """Cancel a waiting job and its pending revisions at once, a running job at its next step."""
        with self.database.write() as session:
            was_waiting, job = self.queue.cancel(session, job_id, tenant_id=tenant_id)
            if was_waiting:
                job.failed_docs = abandon(session, job_id, "Its job was cancelled.", RevisionStatus.CANCELLED)
                record_finished(session, [job], JobStatus.CANCELLED)
            return job

    def complete(self, claim: Claim, result: Json) -> JobStatus:
        """End a job that did all that it could: it failed if documents failed and none was published."""
        failed = int(result.get("failed", 0))
        has_failed = failed > 0 and not result.get("published")
        status = JobStatus.FAILED if has_failed else JobStatus.COMPLETED
        error = _none_published(failed, result["errors"][0]) if has_failed else None
        with self.queue.finish(claim, status, result=result, error=error) as session:
            _count_failed(session, claim, failed)
            record_finished(session, [claim], status, has_errors=failed > 0)
        return status

    def end(self, claim: Claim, status: JobStatus, error: str) -> None:
        """End a job without success, and fail its pending documents in the same commit."""
        revision_status = RevisionStatus.CANCELLED if status == JobStatus.CANCELLED else RevisionStatus.FAILED
        with self.queue.finish(claim, status, error=error) as session:
            _count_failed(session, claim, abandon(session, claim.job_id, error, revision_status))
            record_finished(session, [claim], status)


def _outcome(job: Job) -> ListedStatus | None:
    """How the job ended; None while it has not."""
    return outcome_of(JobStatus(job.status), has_errors=job.failed_docs > 0) if job.status in FINISHED else None


def _none_published(failed: int, first: Json) -> str:
    reason = f"{first['doc_id']!r}: {first['error']}"
    if failed == 1:
        return f"Its only document failed. {reason}"
    return f"None of its documents could be published: {failed} failed. The first, {reason}"


def _count_failed(session: Session, claim: Claim, failed: int) -> None:
    if failed:
        own_row = update(Job).where(Job.team_id == claim.team_id, Job.job_id == claim.job_id)
        session.execute(own_row.values(failed_docs=failed), execution_options={"synchronize_session": False})


def _info(job: Job, project: Project, team: Team) -> JobInfo:
    return JobInfo(
        job_id=job.job_id,
        type=job.type,
        status=JobStatus(job.status),
        outcome=_outcome(job),
        progress=job.progress,
        chunks_done=job.chunks_done,
        chunks_total=job.chunks_total,
        seconds_left=job.seconds_left,
        failed_documents=job.failed_docs,
        retried_as=job.retried_as,
        error=job.error,
        created_at=job.created_at,
        updated_at=job.updated_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
        tenant_id=team.name,
        namespace=project.name,
        attempts=job.attempts,
        cancel_requested=job.cancel_requested,
        result=job.result_json,
        request_id=job.request_id,
    )
