"""The HTTP face of the service, version 1.

    python app_v1.py --host 127.0.0.1 --port 8000

Any ASGI server runs app_v1:app too; the limits of api/connections.py need uvicorn with --http, as main() starts it.

Importing this module opens nothing and reads no setting: lifespan does, when the server starts the app.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypedDict

gc.set_threshold(50_000, 20, 20)  # what is imported stays: looking through it after every 700 objects delays the start

try:
    import uvicorn
except ModuleNotFoundError as error:
    sys.exit(f"app_v1: this Python has no {error.name}. Run script/environment once, then .venv/bin/python app_v1.py")
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

import tracing
from api import exposition, responses
from api.access import SECURITY_SCHEMES
from api.access_log import AccessLog
from api.bodies import LargeBodies
from api.connections import GuardedProtocol
from api.console.mounting import add_console
from api.dify import retrieval
from api.direct import DirectRoutes
from api.docs_page import add_docs_pages
from api.front_page import add_front_page
from api.librechat import files as librechat_files
from api.librechat import reading as librechat_reading
from api.listening import reachable_addresses
from api.manners import Cors, GzipBodies, HeadAndOptions
from api.mcp.endpoint import McpSessions, add_mcp
from api.middleware import InternalErrors, LimitedBodies, PlainRequests, RequestId
from api.openai import chat, embeddings, file_batches, models, store_files, uploads, vector_stores
from api.openai import files as openai_files
from api.problems import add_handlers
from api.strings import with_limits
from api.v1 import (
    ask,
    audit,
    documents,
    erasures,
    evaluation,
    events,
    fetch,
    files,
    health,
    indexes,
    jobs,
    keys,
    preview,
    search,
    stream,
    teams,
    usage,
    versions,
    webhooks,
)
from configuration import misspelt_names, read_settings, settings_or_exit
from errors import ServiceError
from logs import log_to_stderr
from runtime.exposition import figures_served
from runtime.memory import allow_open_files, limit_memory
from runtime.opening import open_runtime
from runtime.parts import Runtime
from settings import Settings
from version import VERSION

log = logging.getLogger(__name__)


STOP_SECONDS = 10
CHECKS = 100
SECONDS_PER_CHECK = 0.1
NO_ADMIN = (
    "AUTH_MODE=keys, but there is no key with the scope admin, so nobody can create keys. Create the first one: "
    "python manage.py create-team NAME, then python manage.py issue-key --team NAME --scope admin"
)


class State(TypedDict):
    runtime: Runtime
    large_bodies: LargeBodies
    access_log: AccessLog
    mcp_sessions: McpSessions


class App(FastAPI):
    """*limits* are the settings shown in the OpenAPI document: the defaults until the app starts."""

    limits = Settings.model_construct()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, _with_plain_errors(send) if scope["type"] == "lifespan" else send)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["securitySchemes"] = SECURITY_SCHEMES
            responses.complete(document)
            with_limits(document, self.limits)
        assert self.openapi_schema is not None
        return self.openapi_schema


# Routes below a doc_id before the doc_id's own.
RESOURCES = (
    files,
    preview,
    fetch,
    stream,
    documents,
    search,
    ask,
    erasures,
    evaluation,
    indexes,
    versions,
    jobs,
    events,
    webhooks,
    usage,
    audit,
    teams,
    keys,
    health,
    exposition,
    openai_files,
    uploads,
    vector_stores,
    store_files,
    file_batches,
    models,
    chat,
    embeddings,
    retrieval,
    librechat_files,
    librechat_reading,
)
ROUTERS = (*(each.router for each in RESOURCES), uploads.parts_router, vector_stores.search_router)

MIDDLEWARES = (RequestId, Cors, InternalErrors, GzipBodies, PlainRequests, LimitedBodies, HeadAndOptions)


def create_app(settings: Settings | None = None) -> App:
    """The app. Without *settings*, it reads them from the environment when it starts."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        used = settings or read_settings()
        app.limits, app.openapi_schema = used, None
        _prepare_process(used)
        limit = used.database_statement_timeout_seconds
        with (
            tracing.exported("api"),
            open_runtime(used, statement_timeout_seconds=limit) as runtime,
            figures_served(runtime, used.metrics_port),
        ):
            runtime.index.embedding.start_loading(warm_up=lambda embedder: embedder.embed_queries(["warm"]))
            runtime.search.reranking.start_loading()
            runtime.operations.audit.started("api", used.changed)
            large_bodies = LargeBodies(max_body_mb=used.max_body_mb)
            with AccessLog.running(used.log_level, used.log_format) as access_log:
                async with _access_warnings(runtime), McpSessions.closing() as mcp_sessions:
                    yield {
                        "runtime": runtime,
                        "large_bodies": large_bodies,
                        "access_log": access_log,
                        "mcp_sessions": mcp_sessions,
                    }

    app = App(
        title="AI-3 DataFactory",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        strict_content_type=False,
        redirect_slashes=False,
        middleware=[*(Middleware(each) for each in MIDDLEWARES), Middleware(DirectRoutes, all_routes())],
    )
    _add_faces(app)
    return app


def _add_faces(app: App) -> None:
    add_mcp(app)
    for router in ROUTERS:
        app.include_router(router)
    add_front_page(app)
    add_docs_pages(app)
    add_console(app)
    add_handlers(app)


def all_routes() -> Iterator[BaseRoute]:
    return (route for router in ROUTERS for route in router.routes)


def _prepare_process(used: Settings) -> None:
    log_to_stderr(used.log_level, used.log_format)
    logging.getLogger("uvicorn.access").disabled = True  # AccessLog has the route, the tenant and the time
    for each in misspelt_names():
        log.warning("%s", each)
    limit_memory(used.memory_limit_mb)
    allow_open_files()


def _with_plain_errors(send: Send) -> Send:
    """Let the server show why it did not start: the reason, without a traceback."""

    async def send_plainly(message: Message) -> None:
        reason = sys.exception()
        if message["type"] == "lifespan.startup.failed" and isinstance(reason, ServiceError):
            message["message"] = str(reason)
        await send(message)

    return send_plainly


@asynccontextmanager
async def _access_warnings(runtime: Runtime) -> AsyncIterator[None]:
    """Warn at every start if anyone gets in, or if nobody can yet."""
    if runtime.settings.auth_mode == "keys":
        await asyncio.to_thread(_warn_without_an_admin, runtime)
        yield
        return
    log.warning("AUTH_MODE=open: anyone who reaches this port can read and write every tenant's data.")
    watching = asyncio.create_task(_warn_if_reachable())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def _warn_without_an_admin(runtime: Runtime) -> None:
    """A failure to check must not keep the process from starting."""
    try:
        if not runtime.accounts.keys.has_admin_key():
            log.warning(NO_ADMIN)
    except Exception:
        log.exception("could not check for a key with the scope admin")


async def _warn_if_reachable() -> None:
    """A server binds its port only after the app has started, so this waits for it."""
    try:
        await _check_addresses()
    except Exception:
        log.exception("could not check whether other machines reach this port")


async def _check_addresses() -> None:
    for _ in range(CHECKS):
        addresses = await asyncio.to_thread(reachable_addresses)
        if addresses:
            log.warning(
                "AUTH_MODE=open, and other machines reach this port (%s): set AUTH_MODE=keys, or listen on 127.0.0.1.",
                ", ".join(addresses),
            )
        if addresses is not None:
            return
        await asyncio.sleep(SECONDS_PER_CHECK)


app = create_app()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    settings_or_exit("app_v1")
    uvicorn.run(
        app,
        host=arguments.host,
        port=arguments.port,
        http=GuardedProtocol,
        ws="none",
        access_log=False,
        log_level="warning",
        log_config=None,  # its own lines go where ours go, in the same format
        timeout_graceful_shutdown=STOP_SECONDS,
    )


if __name__ == "__main__":
    main()
