"""/v1/jobs: what the workers do, and how to stop it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.access import needs
from api.dependencies import After, Caller, IdInPath, InRuntime, Limit, NamespaceIfAny, TenantIfAny
from api.responses import raises
from api.routing import WritingRoute
from api.strings import Word
from domain import Scope
from errors import NotFound
from models import Job, JobStatus, Project, Team

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=WritingRoute)


class JobOut(BaseModel):
    """result says what was done, document by document where some failed; error why a job or its last try failed."""

    job_id: str
    type: str
    status: str
    progress: int
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


class JobPage(BaseModel):
    data: list[JobOut]
    has_more: bool
    next_cursor: str | None


@router.get("/jobs")
@needs(Scope.INGEST)
@raises(NotFound)
def list_jobs(
    runtime: InRuntime,
    tenant_id: TenantIfAny,
    namespace: NamespaceIfAny,
    status: Annotated[JobStatus | None, Query()] = None,
    type: Annotated[Word | None, Query()] = None,
    limit: Limit = 100,
    after: After = None,
) -> JobPage:
    """The jobs, the newest first."""
    found = runtime.queue.page(
        limit=limit + 1, after=after, status=status, type=type, tenant_id=tenant_id, namespace=namespace
    )
    data = [_job_out(*each) for each in found[:limit]]
    has_more = len(found) > limit
    return JobPage(data=data, has_more=has_more, next_cursor=data[-1].job_id if has_more else None)


@router.get("/jobs/{job_id}")
@needs(Scope.INGEST)
@raises(NotFound)
def get_job(job_id: IdInPath, runtime: InRuntime, who: Caller) -> JobOut:
    return _job_out(*runtime.queue.get(job_id, tenant_id=who.tenant_id))


@router.post("/jobs/{job_id}/cancel")
@needs(Scope.INGEST)
@raises(NotFound)
def cancel_job(job_id: IdInPath, runtime: InRuntime, who: Caller) -> JobOut:
    """Cancel a waiting job at once, a running one at its next step. A finished one stays what it is."""
    runtime.ingest.jobs.cancel(job_id, tenant_id=who.tenant_id)
    return _job_out(*runtime.queue.get(job_id, tenant_id=who.tenant_id))


@router.get("/queue/stats")
@needs(Scope.INGEST)
def queue_stats(runtime: InRuntime, who: Caller) -> dict[str, int]:
    """How many jobs there are, in all and by status."""
    counted = runtime.queue.stats(tenant_id=who.tenant_id)
    return {"total": sum(counted.values()), **counted}


def _job_out(job: Job, project: Project, team: Team) -> JobOut:
    return JobOut(
        job_id=job.job_id,
        type=job.type,
        status=job.status,
        progress=job.progress,
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
    )
