"""Is all well, and if not, what is to be done?"""

from __future__ import annotations

from starlette.responses import Response

from api.access import needs
from api.console.routing import get
from api.console.visits import Visit
from domain import ListedStatus, Scope
from services.operations.workers import ALIVE_SECONDS

FAILED_SHOWN = 5


@needs(*Scope)
def overview(visit: Visit) -> Response:
    """Without the scope admin only whether all is well, as over the API."""
    runtime, tenant = visit.runtime, visit.principal.tenant_id
    failed = []
    if sees_jobs := visit.may(Scope.INGEST):
        failed = runtime.ingest.jobs.page(limit=FAILED_SHOWN, status=ListedStatus.FAILED, tenant_id=tenant)
    return visit.page(
        "overview.html",
        health=runtime.operations.observing.health(),
        alive_seconds=ALIVE_SECONDS,
        queue=runtime.queue.stats(tenant_id=tenant) if sees_jobs else None,
        failed=failed,
        quotas=runtime.ingest.quotas.of_team(tenant) if tenant else None,
        logs_dropped=runtime.answers.query_log.dropped,
        settings=runtime.settings,
    )


ROUTES = [get("/console", overview)]
