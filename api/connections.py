"""Connections with limits that uvicorn lacks: the size of a head, the time it may take, the number of connections.

    python -m uvicorn app_v1:app --http api.connections:GuardedProtocol

is what app_v1.py starts. Bodies are limited by api/middleware.py, under any server.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.statuses import Problem, body_of
from settings import Settings

LINGER_SECONDS = 2.0
"""How long a refused client may go on sending. Closing at once would destroy the answer in flight."""


class _HeadTooLarge(Exception):
    """Raised through the parser, which then stops reading the request."""


class GuardedProtocol(HttpToolsProtocol):
    """Between two requests *_is_in_head* is true and only uvicorn's own clock for idle connections runs."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        settings: Settings = self.app_state["runtime"].settings
        self._most_bytes = settings.max_header_kb << 10
        self._seconds = settings.request_timeout_seconds
        self._is_in_head, self._is_refused = True, False
        self._head_bytes = self._heads = 0
        self._clock: asyncio.TimerHandle | None = None
        if len(self.connections) > settings.max_connections:
            message = f"{settings.max_connections} connections are open already (MAX_CONNECTIONS): try again."
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, message, code="overloaded")
        else:
            self._start_clock()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["abort_connection"] = self.transport.abort

    def shutdown(self) -> None:
        """Streams without an end would keep the process from stopping."""
        self.app_state["runtime"].events.feed.close()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        was_in_head, heads = self._is_in_head, self._heads
        if was_in_head and self._clock is None:
            self._start_clock()
        super().data_received(data)
        if was_in_head and heads == self._heads and not self._is_refused:
            self._head_bytes += len(data)
            if self._head_bytes > self._most_bytes:
                self._refuse_head()

    def on_headers_complete(self) -> None:
        self._stop_clock()
        self._is_in_head, self._head_bytes = False, 0
        self._heads += 1
        size = len(self.url) + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)
        if size > self._most_bytes:
            self._refuse_head()
            raise _HeadTooLarge
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_clock()
        self._is_in_head = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_in_head and self._clock is None:  # the rest of a body that nobody reads
            self._start_clock()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer when the parser gives up, for whatever reason."""
        if not self._is_refused:
            super().send_400_response(msg)

    def _start_clock(self) -> None:
        self._clock = self.loop.call_later(self._seconds, self._on_late)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _on_late(self) -> None:
        self._clock = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._start_clock()  # an answer is being sent; the next request waits behind it
        elif self._is_in_head and self._head_bytes:
            message = f"The head of the request did not arrive within {self._seconds:g} s (REQUEST_TIMEOUT_SECONDS)."
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, message, code="request_timeout")
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        message = f"The head of the request is longer than {self._most_bytes >> 10} KB (MAX_HEADER_KB)."
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message, code="too_large")

    def _refuse(self, status: HTTPStatus, detail: str, *, code: str) -> None:
        """Answer; close when the client has closed its side, or after LINGER_SECONDS."""
        self._stop_clock()
        self._is_refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # this answer would be part of another
            return
        answer = Problem(body_of(status, detail, instance="", code=code), status_code=status)
        answer.headers["Connection"] = "close"
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}".encode(),
            *(b": ".join(each) for each in answer.raw_headers),
        ]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._clock = self.loop.call_later(LINGER_SECONDS, self.transport.close)
