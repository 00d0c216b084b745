"""What every request passes before its route: an id, limits, and the normalizing of paths and content types."""

from __future__ import annotations

import asyncio
import random
import re
import time

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import tracing
from api.access_log import CLIENT_LEFT, NO_ROUTE, Access
from api.limits import BodyLimit, body_limit, declared_length, header
from api.manners import without_slash
from api.problems import problem, problem_of
from logs import request_id
from metrics import count_request

PRINTABLE_ID = re.compile(r"[\x21-\x7e]{1,128}")
SLOWEST_BYTES = 10_000
WITH_NAMES = ("/v1/docs/", "/v1/teams/", "/v1/vector_stores/")


class RequestId:
    """Every answer has an X-Request-ID: the client's own, else a new one. Log lines have it too, one per request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        own = header(scope, b"x-request-id").decode("latin-1")
        used = own if PRINTABLE_ID.fullmatch(own) else _new_id()
        started, status = time.perf_counter(), CLIENT_LEFT

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                timing = f"total;dur={1000 * (time.perf_counter() - started):.1f}"
                added = [(b"x-request-id", used.encode()), (b"server-timing", timing.encode())]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        token = request_id.set(used)
        with tracing.request(scope, used) as ended:
            try:
                await self.app(scope, receive, send_with_id)
            except Exception:
                status = 500
                raise
            finally:
                request_id.reset(token)
                _log(scope, used, status, 1000 * (time.perf_counter() - started), ended)


def _new_id() -> str:
    """As long and as unlikely to repeat as a UUID, which would ask the system for each; nobody needs to guess it."""
    return f"{random.getrandbits(128):032x}"


def _log(scope: Scope, used_id: str, status: int, milliseconds: float, ended: tracing.SpanEnd) -> None:
    """The route and the tenant are set by StrictRoute."""
    state, method = scope["state"], scope["method"]
    route, tenant = state.get("route", NO_ROUTE), state.get("tenant")
    count_request(method, route, status, milliseconds / 1000)
    about = {"http.route": route, "http.response.status_code": status}
    ended(about, name=f"{method} {route}", has_failed=status >= 500)
    access = Access(used_id, scope["method"], route, tenant, scope["query_string"], status, milliseconds)
    state["access_log"].add(access)


class InternalErrors:
    """An unexpected error is answered, and the connection stays open.

    Starlette's own middleware answers it too, outside of RequestId, but raises it again; the server then closes a
    connection that it has just promised to keep alive. That is right only if an answer was cut short.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def send_noted(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_noted)
        except Exception as error:
            if scope["type"] != "http" or has_started:
                raise
            answer = await problem_of(Request(scope), error)
            await answer(scope, receive, send)


class LimitedBodies:
    """No body is read beyond the limit of its path (api/limits.py), whatever length it declares.

    Nor does the service wait for one that stops or hardly moves: for REQUEST_TIMEOUT_SECONDS in all, and one second
    more for each SLOWEST_BYTES received; for each piece of a stream. Time in which the service itself is busy does not
    count.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        settings = scope["state"]["runtime"].settings
        limit = body_limit(scope["path"], settings)
        detail = f"The request's body is longer than {limit}: send less at once."
        if (declared_length(scope) or 0) > limit.largest:
            await problem(Request(scope), 413, detail, code="too_large")(scope, receive, send)
            return
        body = _Body(receive, limit, too_long=detail, seconds=settings.request_timeout_seconds)
        await self.app(scope, body.receive, send)


class _Body:
    """A body that is being received, counted and timed."""

    def __init__(self, receive: Receive, limit: BodyLimit, *, too_long: str, seconds: float) -> None:
        self._receive, self._limit, self._too_long, self._seconds = receive, limit, too_long, seconds
        self._received_bytes, self._waited, self._is_whole = 0, 0.0, False

    @property
    def _patience(self) -> float:
        if self._limit.is_stream:
            return self._seconds
        return max(self._seconds + self._received_bytes / SLOWEST_BYTES - self._waited, 0)

    async def receive(self) -> Message:
        """After the whole body only the disconnect follows, which may take any time."""
        if self._is_whole:
            return await self._receive()
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._patience):
                message = await self._receive()
        except TimeoutError:
            reason = f"The body stopped, or arrived too slowly, for {self._seconds:g} s (REQUEST_TIMEOUT_SECONDS)."
            raise HTTPException(408, reason, headers={"Connection": "close"}) from None
        self._waited += time.monotonic() - started
        self._received_bytes += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if self._received_bytes > self._limit.largest:
            raise HTTPException(413, self._too_long)
        return message


class PlainRequests:
    """A doc_id or a team may contain any character, a slash too; and curl -d need not declare that it sends JSON.

    A trailing slash makes no difference. Below WITH_NAMES routes are matched against the encoded path, so that an
    encoded slash does not split a name; the route decodes it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = [_plain_type(*each) for each in scope["headers"]]
            scope = {**scope, "path": _plain_path(scope), "headers": headers}
        await self.app(scope, receive, send)


def _plain_path(scope: Scope) -> str:
    raw = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")
    return without_slash(raw if raw.startswith(WITH_NAMES) else scope["path"], scope["method"])


def _plain_type(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    is_curls_own = name == b"content-type" and value.startswith(b"application/x-www-form-urlencoded")
    return (name, b"application/json") if is_curls_own else (name, value)
