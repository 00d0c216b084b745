"""What clients expect of any HTTP server: HEAD, OPTIONS, trailing slashes, compressed bodies, CORS."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.headers import RATE_LIMIT
from api.limits import header
from api.problems import problem

METHODS = ("GET", "POST", "PATCH", "DELETE")
EXPOSED = (
    "ETag",
    "Location",
    "Idempotency-Replayed",
    *RATE_LIMIT,
    "Retry-After",
    "Server-Timing",
    "X-Request-ID",
)
PIECE_BYTES = 1 << 18
_GZIP = zlib.MAX_WBITS | 16
_ENDS_IN_A_DOC_ID = re.compile("/v1/docs/.+(?<!/chunks)(?<!/file)/+")


class Cors:
    """Pages of CORS_ORIGINS may call the API from a browser. The setting is known once the app has started."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._sharing: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._sharing is None:
            origins = scope["state"]["runtime"].settings.cors_origin_list
            self._sharing = _sharing(self.app, origins) if origins else self.app
        await (self._sharing or self.app)(scope, receive, send)


class HeadAndOptions:
    """HEAD is answered like GET, without the body; OPTIONS lists a path's methods in Allow."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS" and (allowed := _allowed(scope)):
            await Response(status_code=204, headers={"Allow": ", ".join(allowed)})(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "HEAD":
            await self.app({**scope, "method": "GET", "is_head": True}, receive, _without_body(send))
        else:
            await self.app(scope, receive, send)


class GzipBodies:
    """Decompresses bodies piece by piece, so that limits apply to the decompressed size."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        coding = _coding(scope)
        if coding == "":
            await self.app(scope, receive, send)
        elif coding in ("gzip", "x-gzip"):
            headers = [each for each in scope["headers"] if each[0] not in (b"content-encoding", b"content-length")]
            await self.app({**scope, "headers": headers}, _Unpacked(receive), send)
        else:
            detail = f"A body in Content-Encoding {coding!r} is not supported: send it uncompressed, or as gzip."
            answer = problem(Request(scope), 415, detail, code="unsupported_media_type")
            answer.headers["Accept-Encoding"] = "gzip, identity"
            await answer(scope, receive, send)


def without_slash(path: str, method: str) -> str:
    """Trailing slashes are ignored, except after a doc_id, which may end in one. No POST's path ends in a doc_id."""
    if method != "POST" and _ENDS_IN_A_DOC_ID.fullmatch(path):
        return path
    return path.rstrip("/") or "/"


class _Unpacked:
    """Decompresses in pieces of at most PIECE_BYTES. Several gzip members are one body (RFC 1952)."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._unpacking = zlib.decompressobj(_GZIP)
        self._pieces: Iterator[bytes] = iter(())
        self._has_more = True
        self._received = False

    async def __call__(self) -> Message:
        while True:
            for piece in self._pieces:
                return {"type": "http.request", "body": piece, "more_body": True}
            if not self._has_more:
                return self._last()
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._has_more = message.get("more_body", False)
            self._pieces = self._unpacked(message.get("body", b""))

    def _last(self) -> Message:
        if self._received and not self._unpacking.eof:
            raise HTTPException(400, "The gzip body is cut off before its end.")
        return {"type": "http.request", "body": b"", "more_body": False}

    def _unpacked(self, packed: bytes) -> Iterator[bytes]:
        while packed:
            self._received = True
            if self._unpacking.eof:
                self._unpacking = zlib.decompressobj(_GZIP)
            try:
                piece = self._unpacking.decompress(packed, PIECE_BYTES)
            except zlib.error as error:
                raise HTTPException(400, f"The body is not valid gzip: {error}.") from error
            packed = self._unpacking.unconsumed_tail or self._unpacking.unused_data
            if piece:
                yield piece


def _sharing(app: ASGIApp, origins: list[str]) -> ASGIApp:
    return CORSMiddleware(
        app, allow_origins=origins, allow_methods=METHODS, allow_headers=["*"], expose_headers=EXPOSED, max_age=600
    )


def _coding(scope: Scope) -> str:
    if scope["type"] != "http":
        return ""
    coding = header(scope, b"content-encoding").decode("latin-1").strip().lower()
    return "" if coding == "identity" else coding


def _without_body(send: Send) -> Send:
    """Content-Length stays that of a GET."""

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head


def _allowed(scope: Scope) -> list[str]:
    routes: list[Any] = scope["app"].router.routes
    methods = [method for method in METHODS if _takes(routes, {**scope, "method": method})]
    return [*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"] if methods else []


def _takes(routes: list[Any], scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in routes)
