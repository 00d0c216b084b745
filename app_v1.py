"""The HTTP face of the service, version 1.

    python -m uvicorn app_v1:app

Importing this module opens nothing and reads no setting: that happens when the server starts the app, in
lifespan, and is undone when it stops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypedDict

from fastapi import FastAPI
from starlette.middleware import Middleware

from api import ask, documents, evaluation, fetch, files, health, indexes, jobs, keys, search, teams, usage
from api.access import SECURITY_SCHEMES
from api.bodies import LargeBodies
from api.listening import reachable_addresses
from api.middleware import BodyLimit, InternalErrors, PlainRequests, RequestId, RequestIdInLogs
from api.problems import add_handlers
from errors import ServiceError
from runtime import Runtime, open_runtime
from settings import Settings
from version import VERSION

log = logging.getLogger(__name__)


LOOKS = 100
SECONDS_PER_LOOK = 0.1
NO_ADMIN = (
    "AUTH_MODE=keys, and there is no key of scope admin, so nobody can make others. Make the first one: "
    "python manage.py create-team NAME, then python manage.py issue-key --team NAME --scope admin"
)


class State(TypedDict):
    runtime: Runtime
    large_bodies: LargeBodies


class App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["components"]["securitySchemes"] = SECURITY_SCHEMES
        return document


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app; *settings* are read from the environment when it starts, unless they are given."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        used = settings or Settings()
        _log_to_stderr(used.log_level)
        limit = used.database_statement_timeout_seconds
        with _told_plainly(), open_runtime(used, statement_timeout_seconds=limit) as runtime:
            runtime.embedding.start_loading(warm_up=lambda embedder: embedder.embed_queries(["warm"]))
            runtime.reranking.start_loading()
            async with _told_who_gets_in(runtime):
                yield {"runtime": runtime, "large_bodies": LargeBodies(max_body_mb=used.max_body_mb)}

    app = App(
        title="AI-3 DataFactory",
        version=VERSION,
        lifespan=lifespan,
        strict_content_type=False,
        middleware=[
            Middleware(RequestId),
            Middleware(InternalErrors),
            Middleware(BodyLimit),
            Middleware(PlainRequests),
        ],
    )
    everything = (files, fetch, documents, search, ask, evaluation, indexes, jobs, usage, teams, keys, health)
    for each in everything:  # what a doc_id may end in goes first
        app.include_router(each.router)
    add_handlers(app)
    return app


@contextmanager
def _told_plainly() -> Iterator[None]:
    """The server shows what kept it from starting: the reason, not what the driver went through."""
    try:
        yield
    except ServiceError as error:
        raise error.with_traceback(None) from None


@asynccontextmanager
async def _told_who_gets_in(runtime: Runtime) -> AsyncIterator[None]:
    """Say at every start who can get in, or that nobody can yet."""
    if runtime.settings.auth_mode == "keys":
        if not runtime.keys.is_anybody_admin():
            log.warning(NO_ADMIN)
        yield
        return
    log.warning("AUTH_MODE=open: whoever reaches this port can read and write every tenant's data.")
    watching = asyncio.create_task(_warn_of_other_machines())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _warn_of_other_machines() -> None:
    """A server binds its port only after the app has started, so this waits for it."""
    for _ in range(LOOKS):
        addresses = await asyncio.to_thread(reachable_addresses)
        if addresses:
            log.warning(
                "AUTH_MODE=open, and other machines reach this port (%s): set AUTH_MODE=keys, or listen on 127.0.0.1.",
                ", ".join(addresses),
            )
        if addresses is not None:
            return
        await asyncio.sleep(SECONDS_PER_LOOK)


def _log_to_stderr(level: str) -> None:
    """A line per event, with the id of the request that it belongs to."""
    handler = logging.StreamHandler()
    handler.addFilter(RequestIdInLogs())
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s [%(request_id)s] %(message)s", handlers=[handler]
    )


app = create_app()
