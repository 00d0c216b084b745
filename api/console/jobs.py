"""What is stuck or has failed, and why?"""

from __future__ import annotations

from starlette.responses import Response

from api.access import needs
from api.console.routing import get, post
from api.console.visits import Visit
from domain import ListedStatus, Scope
from job_queue import FINISHED
from services.ingest.jobs import JobInfo

PATH = "/console/jobs"
PER_PAGE = 50


@needs(Scope.INGEST)
def jobs(visit: Visit) -> Response:
    status = visit.choice("status", *ListedStatus)
    newest = visit.runtime.ingest.jobs.page(
        limit=PER_PAGE + 1,
        after=visit.value("after"),
        status=ListedStatus(status) if status else None,
        tenant_id=visit.tenant,
        namespace=visit.namespace,
    )
    shown = newest[:PER_PAGE]
    return visit.page(
        "jobs.html",
        jobs=shown,
        after=shown[-1].job_id if len(newest) > PER_PAGE else None,
        status=status,
        statuses=list(ListedStatus),
        lives=any(is_unfinished(each) for each in shown),
    )


@needs(Scope.INGEST)
def job(visit: Visit) -> Response:
    shown = visit.runtime.ingest.jobs.get(_job_id(visit), tenant_id=visit.principal.tenant_id)
    result = shown.result or {}
    return visit.page(
        "job.html",
        job=shown,
        errors=result.get("errors", []),
        figures={name: value for name, value in result.items() if isinstance(value, int | float | str)},
        lives=is_unfinished(shown),
        can_retry=_can_retry(shown),
    )


@needs(Scope.INGEST)
def cancel(visit: Visit) -> Response:
    job_id = _job_id(visit)
    visit.runtime.ingest.jobs.cancel(job_id, tenant_id=visit.principal.tenant_id)
    return visit.redirect(f"{PATH}/{job_id}")


@needs(Scope.INGEST)
def retry(visit: Visit) -> Response:
    new_id = visit.runtime.ingest.retrying.retry_job(_job_id(visit), tenant_id=visit.principal.tenant_id)
    return visit.redirect(f"{PATH}/{new_id}")


def is_unfinished(job: JobInfo) -> bool:
    return job.status not in FINISHED


def _can_retry(job: JobInfo) -> bool:
    return job.retried_as is None and job.outcome in (
        ListedStatus.FAILED,
        ListedStatus.COMPLETED_WITH_ERRORS,
        ListedStatus.CANCELLED,
    )


def _job_id(visit: Visit) -> str:
    return str(visit.request.path_params["job_id"])


ROUTES = [
    get(PATH, jobs),
    get(f"{PATH}/{{job_id}}", job),
    post(f"{PATH}/{{job_id}}/cancel", cancel),
    post(f"{PATH}/{{job_id}}/retry", retry),
]
