"""The HTTP face of the service, version 1.

    python -m uvicorn app_v1:app

Importing this module opens nothing and reads no setting: that happens when the server starts the app, in
lifespan, and is undone when it stops.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI
from starlette.middleware import Middleware

from api import documents, fetch, files, health, indexes, jobs, search
from api.middleware import BodyLimit, PlainRequests, RequestId, RequestIdInLogs
from api.problems import add_handlers
from runtime import Runtime, open_runtime
from settings import Settings
from version import VERSION

log = logging.getLogger(__name__)


class State(TypedDict):
    runtime: Runtime


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app; *settings* are read from the environment when it starts, unless they are given."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        used = settings or Settings()
        _log_to_stderr(used.log_level)
        with open_runtime(used) as runtime:
            runtime.embedding.start_loading(warm_up=lambda embedder: embedder.embed_queries(["warm"]))
            log.warning("AUTH_MODE=open: whoever reaches this port can read and write every tenant's data.")
            yield {"runtime": runtime}

    app = FastAPI(
        title="AI-3 DataFactory",
        version=VERSION,
        lifespan=lifespan,
        strict_content_type=False,
        middleware=[Middleware(RequestId), Middleware(BodyLimit), Middleware(PlainRequests)],
    )
    for each in (files, fetch, documents, search, indexes, jobs, health):  # what a doc_id may end in goes first
        app.include_router(each.router)
    add_handlers(app)
    return app


def _log_to_stderr(level: str) -> None:
    """A line per event, with the id of the request that it belongs to."""
    handler = logging.StreamHandler()
    handler.addFilter(RequestIdInLogs())
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s [%(request_id)s] %(message)s", handlers=[handler]
    )


app = create_app()
