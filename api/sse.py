"""Answers that are streams of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi.sse import EventSourceResponse
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

SEND_SECONDS = 30.0
EVENT_STREAM = "text/event-stream"


class EventStream(EventSourceResponse):
    """Server-sent events. When the client disconnects, their generator is closed at once."""

    body_iterator: AsyncGenerator[bytes, None]

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self.body_iterator):
            await super().stream_response(send)


class EndlessEventStream(EventStream):
    """A client that takes nothing for SEND_SECONDS is cut off: it can go on with Last-Event-ID."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        abort = scope.get("state", {}).get("abort_connection")

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await send(message)
            except TimeoutError:
                if abort is None:
                    raise
                abort()

        await super().__call__(scope, receive, send_in_time)


def wants_events(request: Request) -> bool:
    """A HEAD would wait for the end."""
    return EVENT_STREAM in request.headers.get("accept", "") and "is_head" not in request.scope
