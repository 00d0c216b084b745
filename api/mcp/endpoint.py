"""/mcp: admits a caller as every route does, and hands its request to the MCP library.

The library takes a second and some memory to import, so the first request does it, and not the start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from starlette.routing import Route
from starlette.types import Message, Receive, Send
from starlette.types import Scope as AsgiScope

from api.access import admit, admit_tenants
from api.headers import rate_limit_headers
from api.limits import MIB, parsed_bytes
from api.mcp.calls import ToolCaller, of_tenant
from api.parameters import QueryParameters
from api.routing import StrictRequest
from domain import Scope
from errors import Forbidden, TooLarge
from logs import actor
from services.index.names import check_name

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

PATH = "/mcp"
MOST_PARSED_BYTES = 2 * MIB
"""Far more than metadata may take, and so little that parsing it holds nobody up."""
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_PARAMETERS = QueryParameters(("tenant_id", "namespace"))


class McpSessions:
    """The library's side of HTTP. It keeps no session: each request is answered by itself, in JSON."""

    def __init__(self) -> None:
        self._manager: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._running: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def closing(cls) -> AsyncIterator[McpSessions]:
        sessions = cls()
        try:
            yield sessions
        finally:
            sessions._stopping.set()
            if sessions._running is not None:
                await sessions._running

    async def handle(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if self._manager is None:
            self._manager = asyncio.get_running_loop().create_future()
            self._running = asyncio.create_task(self._run(self._manager), context=Context())
        manager = await asyncio.shield(self._manager)
        await manager.handle_request(scope, receive, send)

    async def _run(self, opened: asyncio.Future[StreamableHTTPSessionManager]) -> None:
        """One task enters and leaves the library's task group. After a failure the next request tries again."""
        try:
            manager = await asyncio.to_thread(_new_manager)
        except Exception as error:
            self._manager = None
            opened.set_exception(error)
            return
        async with manager.run():
            opened.set_result(manager)
            await self._stopping.wait()


class McpEndpoint:
    """An ASGI app for one route, so that the app's own 404, 405 and middlewares stay as they are."""

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request.state.route = PATH
        caller = await _admitted(request)
        request.state.tool_caller = caller
        receive = await _body_first(scope, receive)
        headers = [(name, value.strip()) for name, value in scope["headers"]]  # the server leaves blanks at their ends
        await request.state.mcp_sessions.handle({**scope, "headers": headers}, receive, _with_rate_limit(request, send))


def add_mcp(app: FastAPI) -> None:
    app.router.routes.append(Route(PATH, McpEndpoint(), methods=["POST"], include_in_schema=False))


async def _admitted(request: Request) -> ToolCaller:
    """Raises what StrictRoute raises, and Forbidden for a page of another origin."""
    state, runtime = request.state, request.state.runtime
    _refuse_foreign_page(request.headers.get("origin"), runtime.settings.cors_origin_list)
    principal, state.quota = await admit(request, (Scope.SEARCH, Scope.INGEST))
    actor.set(f"key:{principal.key_id}" if principal.key_id else "anyone")
    state.tenant = principal.tenant_id
    _PARAMETERS.check(request.scope["query_string"])
    named = {name: request.query_params.get(name) for name in _PARAMETERS.names}
    for field, name in named.items():
        if name is not None:
            check_name(field, name, runtime.settings.max_name_chars)
    state.principal = of_tenant(principal, named["tenant_id"])
    state.tenant = state.tenant or state.principal.tenant_id
    await admit_tenants(request, lambda: [named["tenant_id"]])
    return ToolCaller(runtime, state.principal, request, named["namespace"])


def _refuse_foreign_page(origin: str | None, allowed: list[str]) -> None:
    """A browser says which page sends a request: one whose name was rebound to this address has its own.

    Programs other than browsers send no Origin. The Host is not compared: behind a proxy it is the proxy's to choose.
    """
    if origin is None or "*" in allowed or origin in allowed:
        return
    if not _is_of_this_machine(origin):
        raise Forbidden("Pages of this origin may not call /mcp: the operator can allow it in CORS_ORIGINS.")


def _is_of_this_machine(origin: str) -> bool:
    try:
        return urlsplit(origin).hostname in LOOPBACK
    except ValueError:  # of brackets that hold no address
        return False


async def _body_first(scope: AsgiScope, receive: Receive) -> Receive:
    """The library parses on the event loop, so a body is looked at before. Raises TooLarge."""
    body = await StrictRequest(scope, receive).body()
    if parsed_bytes(body) > MOST_PARSED_BYTES:
        raise TooLarge(
            "This message has too many values for an MCP call: send less at once, or use POST /v1/docs/upsert."
        )
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


def _with_rate_limit(request: Request, send: Send) -> Send:
    quota = request.state.quota
    if quota is None:
        return send
    headers = rate_limit_headers(quota.limit, remaining=quota.remaining, seconds=quota.seconds)
    added = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return send_with_headers


def _new_manager() -> StreamableHTTPSessionManager:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from api.mcp.server import RequestContext, open_server

    def caller_of(context: RequestContext) -> ToolCaller:
        assert context.request is not None
        caller: ToolCaller = context.request.state.tool_caller
        return caller

    return StreamableHTTPSessionManager(open_server(caller_of), json_response=True, stateless=True)
