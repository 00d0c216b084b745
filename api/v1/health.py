"""/v1/health and /v1/chunking/strategies: the state of the service, and its ways of chunking."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from fastapi import APIRouter, Response

from api.access import needs, open_to_strangers
from api.dependencies import Caller, InRuntime
from api.routing import StrictRoute
from api.v1.common import Out
from domain import Scope
from services.operations.observing import without_password
from text.chunkers import STRATEGIES
from version import VERSION

router = APIRouter(prefix="/v1", tags=["health"], route_class=StrictRoute)


class BuildInfo(Out):
    version: str
    embedding_model: str
    embedding_version: str
    database_url: str
    index_dir: str


class WorkerOut(Out):
    """A worker that has not signed off. doing is the type of its job, null while it waits for one."""

    name: str
    host: str | None
    pid: int | None
    version: str | None
    doing: str | None
    started_at: datetime
    seen_at: datetime


class HealthOut(Out):
    """model is loading, ready or failed. problems say what is wrong and what to do, warnings what works badly.

    workers_ok is false if jobs have waited for WORKER_SILENCE_SECONDS and no worker was seen in that time.

    logs_dropped counts records of the query log that this process had to drop.
    """

    ok: bool
    db_ok: bool
    index_store_ok: bool
    jobqueue_ok: bool
    workers_ok: bool
    model: str
    problems: list[str]
    warnings: list[str]
    workers: list[WorkerOut]
    logs_dropped: int
    build_info: BuildInfo


class StrangersHealthOut(Out):
    """With AUTH_MODE=keys, the answer to callers without the scope admin."""

    ok: bool


class LiveOut(Out):
    ok: bool


class StrategyOut(Out):
    name: str
    description: str


class StrategiesOut(Out):
    data: list[StrategyOut]


@router.get("/health", responses={503: {"model": HealthOut | StrangersHealthOut}})
@open_to_strangers
def health(runtime: InRuntime, caller: Caller, response: Response) -> HealthOut | StrangersHealthOut:
    """200 if the service works, also while the model is loading; otherwise 503, and problems say why."""
    state, settings = runtime.operations.observing.health(), runtime.settings
    if not state.ok:
        response.status_code = 503
    if not caller.may(Scope.ADMIN):
        return StrangersHealthOut(ok=state.ok)
    return HealthOut(
        ok=state.ok,
        **asdict(state),
        logs_dropped=runtime.answers.query_log.dropped,
        build_info=BuildInfo(
            version=VERSION,
            embedding_model=settings.embed_model_name,
            embedding_version=settings.version,
            database_url=without_password(settings.database_url),
            index_dir=str(settings.index_dir),
        ),
    )


@router.get("/health/live")
@open_to_strangers
def live() -> LiveOut:
    """200 as long as this process answers at all: a probe that fails means that a restart would help."""
    return LiveOut(ok=True)


@router.get("/health/ready", responses={503: {"model": LiveOut}})
@open_to_strangers
def ready(runtime: InRuntime, response: Response) -> LiveOut:
    """200 if requests should come here; 503 while writes cannot work, the model failed, or no worker works on jobs that
    wait. /v1/health says why.
    """
    is_ready = runtime.operations.observing.is_ready()
    if not is_ready:
        response.status_code = 503
    return LiveOut(ok=is_ready)


@router.get("/chunking/strategies")
@needs(Scope.SEARCH, Scope.INGEST)
def strategies() -> StrategiesOut:
    """The values of chunk_strategy."""
    return StrategiesOut(data=[StrategyOut.model_validate(each) for each in STRATEGIES.values()])
