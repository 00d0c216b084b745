"""Tries failed work again, under new jobs, with what was sent: raw files, texts and chunks are kept for that.

A retry accepts the revisions anew: they are pending again, under their old numbers, and belong to the new job.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, exists, select, update
from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database
from database.repeating import repeatable
from domain import ListedStatus
from errors import Conflict
from job_queue import FINISHED, JobQueue
from models import Chunk, Doc, DocStatus, Job, Project, Revision, RevisionStatus, utc_now
from services.index import namespaces
from services.index.publishing import KEY, Publisher
from services.ingest.documents import INGEST
from services.ingest.ingesting import RETRYABLE
from services.ingest.rows import IDS_PER_QUERY, require_doc

JOBS_PER_PAGE = 100
_NO_SYNC = {"synchronize_session": False}


class _Failed(NamedTuple):
    """A failed revision, the newest of its document. *is_file*: its text can be extracted anew."""

    doc_id: str
    revision: int
    is_file: bool
    has_chunks: bool

    @property
    def can_be_retried(self) -> bool:
        return self.is_file or self.has_chunks


@dataclass(frozen=True)
class RetryingService:
    database: Database
    queue: JobQueue
    publisher: Publisher

    @repeatable
    def retry_job(self, job_id: str, *, tenant_id: str | None = None) -> str:
        """Returns the id of the new job. Raises Conflict if the job has not ended, or nothing of it can be retried."""
        self.database.refuse_when_nearly_full()
        job, project, _ = self.queue.get(job_id, tenant_id=tenant_id)
        with self.database.write() as session:
            job = session.get_one(Job, (job.team_id, job_id), with_for_update=True)
            _require_retryable(job)
            new_id = self.queue.create_job(
                session, job.type, job.payload_json, project=project, dedupe_key=job.dedupe_key
            )
            of_job = and_(Revision.team_id == job.team_id, Revision.job_id == job_id)
            if job.type == INGEST and not self._accept(session, of_job, new_id):
                raise Conflict(
                    f"Nothing of job {job_id} is left to try again: its failed documents were deleted or sent again."
                )
            job.retried_as = new_id
        return new_id

    @repeatable
    def retry_document(self, tenant_id: str, namespace: str, doc_id: str) -> str:
        """Returns the id of the job that tries the document again. Raises Conflict if it has not failed."""
        self.database.refuse_when_nearly_full()
        with self.database.write() as session:
            project = namespaces.require(session, tenant_id, namespace)
            revision = require_doc(session, project, doc_id).revision
            if revision.status not in RETRYABLE:
                raise Conflict(f"Document {doc_id!r} has not failed: it is {revision.status}.", param="doc_id")
            new_id = self.queue.create_job(session, INGEST, {}, project=project)
            of_doc = and_(
                Revision.team_id == project.team_id, Revision.project_id == project.id, Revision.doc_id == doc_id
            )
            if not self._accept(session, of_doc, new_id):
                raise Conflict(
                    f"An earlier release did not keep what {doc_id!r} was cut into: send it again.", param="doc_id"
                )
        return new_id

    def retry_all(self, *, type: str | None = None) -> Iterator[tuple[str, str]]:
        """Yields each job that failed, in whole or in part, and was not retried yet, with what became of it."""
        for status in (ListedStatus.FAILED, ListedStatus.COMPLETED_WITH_ERRORS):
            after = None
            while jobs := self.queue.page(limit=JOBS_PER_PAGE, after=after, status=status, type=type):
                after = jobs[-1][0].job_id
                for job in (each[0] for each in jobs if each[0].retried_as is None):
                    try:
                        yield job.job_id, f"retried as job {self.retry_job(job.job_id)}"
                    except Conflict as error:
                        yield job.job_id, str(error)

    def _accept(self, session: Session, condition: ColumnElement[bool], job_id: str) -> int:
        """Make the failed revisions that meet the condition pending again, under the job. Returns their number."""
        accepted = 0
        for project in session.scalars(_projects(condition)).all():
            current, _ = self.publisher.next_numbers(session, project, publications=0)
            failed = [_Failed(*row) for row in session.execute(_failed(current, condition))]
            can_be_retried = [each for each in failed if each.can_be_retried]
            for has_chunks in (True, False):
                group = [each.doc_id for each in can_be_retried if each.has_chunks == has_chunks]
                for doc_ids in batched(group, IDS_PER_QUERY):
                    _make_pending(session, current, doc_ids, job_id, has_chunks=has_chunks)
            accepted += len(can_be_retried)
        return accepted


def _require_retryable(job: Job) -> None:
    if job.status not in FINISHED:
        raise Conflict(f"Job {job.job_id} has not ended: it is {job.status}. Only a job that has ended can be retried.")
    if job.retried_as is not None:
        raise Conflict(f"Job {job.job_id} was retried already, as job {job.retried_as}.")
    if job.status == "completed" and not job.failed_docs:
        raise Conflict(f"Nothing of job {job.job_id} failed.")


def _is_newest_failed() -> ColumnElement[bool]:
    return and_(
        Doc.team_id == Revision.team_id,
        Doc.project_id == Revision.project_id,
        Doc.doc_id == Revision.doc_id,
        Doc.revision == Revision.revision,
        Doc.deleted_at.is_(None),
        Revision.status.in_(RETRYABLE),
    )


def _projects(condition: ColumnElement[bool]) -> Any:
    """In the order in which writers of several namespaces lock them."""
    in_project = and_(Project.team_id == Revision.team_id, Project.id == Revision.project_id)
    has_failed = exists().where(in_project, condition, Revision.status.in_(RETRYABLE))
    return select(Project).where(has_failed).order_by(Project.name)


def _failed(project: Project, condition: ColumnElement[bool]) -> Any:
    is_first = and_(*(getattr(Chunk, name) == getattr(Revision, name) for name in KEY), Chunk.chunk_index == 0)
    has_chunks = exists().where(is_first)
    columns = (Revision.doc_id, Revision.revision, Revision.blob_uri.is_not(None), has_chunks)
    in_project = and_(Revision.team_id == project.team_id, Revision.project_id == project.id)
    return select(*columns).join(Doc, _is_newest_failed()).where(in_project, condition)


def _make_pending(session: Session, project: Project, doc_ids: Sequence[str], job_id: str, *, has_chunks: bool) -> None:
    """A file without chunks is extracted again."""
    in_project = and_(Revision.team_id == project.team_id, Revision.project_id == project.id)
    is_chosen = and_(in_project, Revision.doc_id.in_(doc_ids), exists().where(_is_newest_failed()))
    values = {"status": RevisionStatus.PENDING, "job_id": job_id, "error": None, "accepted_seq": project.seq}
    values |= {} if has_chunks else {"chunk_count": 0}
    session.execute(update(Revision).where(is_chosen).values(**values), execution_options=_NO_SYNC)
    status = DocStatus.PROCESSING if has_chunks else DocStatus.UPLOADED
    docs = update(Doc).where(Doc.team_id == project.team_id, Doc.project_id == project.id, Doc.doc_id.in_(doc_ids))
    session.execute(docs.values(status=status, error=None, updated_at=utc_now()), execution_options=_NO_SYNC)
