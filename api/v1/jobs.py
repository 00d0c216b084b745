"""/v1/jobs: look at jobs and cancel them."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.concurrency import run_in_threadpool

from api.access import needs
from api.dependencies import After, Caller, IdInPath, InRuntime, Limit, NamespaceIfAny, TenantIfAny
from api.responses import raises, with_headers
from api.routing import WritingRoute
from api.strings import Word
from api.v1.common import Out, Page
from api.waiting import WaitSeconds, wait_for_end
from domain import ListedStatus, Scope
from errors import Conflict, NotFound, Overloaded

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=WritingRoute)


class JobOut(Out):
    """result says what was done, document by document if some failed; error why the job or its last attempt failed.

    outcome is null until the job has ended; then it is completed, completed_with_errors, failed or cancelled.
    chunks_done of chunks_total have their vectors; seconds_left estimates the work that is left; null: not known.
    retried_as is the job that tries again what failed.
    request_id is the X-Request-ID of the request that created the job; null if a process created it by itself.
    """

    job_id: str
    type: str
    status: str
    outcome: str | None
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
    result: dict[str, Any] | None
    request_id: str | None


class JobPage(Page[JobOut]):
    pass


@router.get("/jobs")
@needs(Scope.INGEST)
@raises(NotFound)
def list_jobs(
    runtime: InRuntime,
    tenant_id: TenantIfAny,
    namespace: NamespaceIfAny,
    status: Annotated[ListedStatus | None, Query()] = None,
    type: Annotated[Word | None, Query()] = None,
    limit: Limit = 100,
    after: After = None,
) -> JobPage:
    """The jobs, the newest first. completed includes those that completed_with_errors."""
    jobs = runtime.ingest.jobs.page(
        limit=limit + 1, after=after, status=status, type=type, tenant_id=tenant_id, namespace=namespace
    )
    return JobPage.of(jobs, limit=limit, cursor="job_id")


@router.get("/jobs/{job_id}")
@needs(Scope.INGEST)
@raises(NotFound, Overloaded)
async def get_job(job_id: IdInPath, runtime: InRuntime, caller: Caller, seconds: WaitSeconds) -> JobOut:
    get = partial(run_in_threadpool, runtime.ingest.jobs.get, job_id, tenant_id=caller.tenant_id)
    job = await get()
    if seconds is not None and job.outcome is None:
        await wait_for_end(runtime, job_id, seconds)
        job = await get()
    return JobOut.model_validate(job)


@router.post("/jobs/{job_id}/cancel")
@needs(Scope.INGEST)
@raises(NotFound)
def cancel_job(job_id: IdInPath, runtime: InRuntime, caller: Caller) -> JobOut:
    """Cancel a pending job at once, a running one at its next step. A finished one stays as it is."""
    runtime.ingest.jobs.cancel(job_id, tenant_id=caller.tenant_id)
    return JobOut.model_validate(runtime.ingest.jobs.get(job_id, tenant_id=caller.tenant_id))


@router.post("/jobs/{job_id}/retry", responses=with_headers("Location"))
@needs(Scope.INGEST)
@raises(NotFound, Conflict)
def retry_job(job_id: IdInPath, runtime: InRuntime, caller: Caller, response: Response) -> JobOut:
    """Try again what failed of a job that has ended, under a new job, which is the answer. Nothing is sent again."""
    new_id = runtime.ingest.retrying.retry_job(job_id, tenant_id=caller.tenant_id)
    response.headers["Location"] = f"/v1/jobs/{new_id}"
    return JobOut.model_validate(runtime.ingest.jobs.get(new_id, tenant_id=caller.tenant_id))


@router.get("/queue/stats")
@needs(Scope.INGEST)
def queue_stats(runtime: InRuntime, caller: Caller) -> dict[str, int]:
    """How many jobs there are, in all and by status."""
    counts = runtime.queue.stats(tenant_id=caller.tenant_id)
    return {"total": sum(counts.values()), **counts}
