"""/v1/events and /v1/jobs/{job_id}/events: what happens, as it happens."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from api.access import needs, require_still_valid
from api.dependencies import Caller, IdInPath, InRuntime, Limit, NamespaceIfAny, TenantIfAny
from api.headers import NOT_BUFFERED
from api.problems import problem_of
from api.responses import raises
from api.routing import StrictRoute
from api.sse import EVENT_STREAM, EndlessEventStream, wants_events
from api.strings import LONGEST_CURSOR
from api.v1.common import Out
from domain import EventType, Scope
from errors import Gone, Invalid, NotFound, Overloaded
from runtime.parts import Runtime
from services.events.feed import EventFeed
from services.events.job_states import JobState
from services.events.reading import EventFilter, RecordedEvent

router = APIRouter(prefix="/v1", tags=["events"], route_class=StrictRoute)

KEEP_ALIVE_SECONDS = 15.0
CHECK_SECONDS = 5.0
LATEST_EVENT_SECONDS = 10.0
"""So long after the end of a job its last event is waited for, which other transactions may hold up."""
LONGEST_TYPES = 500
STEPS_PER_PAGE = 20
JOB = "job"
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_STREAMED = "A page, or with Accept: text/event-stream a stream of server-sent events, whose data is one of its events."
_SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "For Last-Event-ID"},
        "event": {"enum": [*EventType, JOB, "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": _STREAMED, "content": {EVENT_STREAM: {"itemSchema": _SCHEMA}}}
}


class EventOut(Out):
    """id grows with each event, and says where to go on. data names what the event is about."""

    id: str
    type: EventType
    timestamp: datetime
    tenant_id: str
    namespace: str | None
    data: dict[str, Any]

    @classmethod
    def of(cls, event: RecordedEvent) -> EventOut:
        fields = {name: getattr(event, name) for name in ("type", "timestamp", "tenant_id", "namespace", "data")}
        return cls(id=str(event.number), **fields)


class EventPage(Out):
    """next_cursor is where to go on, as after, now or later. has_more: there are others already."""

    data: list[EventOut]
    has_more: bool
    next_cursor: str


EventId = Annotated[
    str | None, Query(max_length=LONGEST_CURSOR, description="Only events behind this id; 0: all that are kept")
]
LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=255, description="The last event that was received")
]
Types = Annotated[
    str | None, Query(max_length=LONGEST_TYPES, description="Only these types, separated by commas: job.finished")
]


@router.get("/events", response_model=EventPage, responses=STREAM)
@needs(Scope.INGEST)
@raises(Gone, Overloaded)
async def events(
    request: Request,
    runtime: InRuntime,
    tenant_id: TenantIfAny,
    namespace: NamespaceIfAny,
    types: Types = None,
    after: EventId = None,
    last_event_id: LastEventId = None,
    limit: Limit = 100,
) -> EventPage | Response:
    """What happened to documents and jobs, in the order of its ids: a page of it, or a stream that goes on with what
    happens from now on, or behind Last-Event-ID.
    """
    event_filter = EventFilter(tenant_id=tenant_id, namespace=namespace, types=_types(types))
    place = _place(last_event_id, after)
    if not wants_events(request):
        return await run_in_threadpool(_page, runtime, event_filter, place or 0, limit)
    return await _answer(_EventPieces(request, runtime, event_filter, place).events())


@router.get("/jobs/{job_id}/events", response_model=EventPage, responses=STREAM)
@needs(Scope.INGEST)
@raises(NotFound, Gone, Overloaded)
async def job_events(
    request: Request,
    runtime: InRuntime,
    caller: Caller,
    job_id: IdInPath,
    after: EventId = None,
    last_event_id: LastEventId = None,
    limit: Limit = 100,
) -> EventPage | Response:
    """What happened to a job and its documents: a page of it, or a stream that ends when the job has ended. In the
    stream, events of the type job say how far it is; they have no id.
    """
    await run_in_threadpool(runtime.ingest.jobs.get, job_id, tenant_id=caller.tenant_id)
    event_filter = EventFilter(tenant_id=caller.tenant_id, job_id=job_id)
    place = _place(last_event_id, after)
    if not wants_events(request):
        return await run_in_threadpool(_page, runtime, event_filter, place or 0, limit)
    return await _answer(_EventPieces(request, runtime, event_filter, place).events_of(job_id))


async def _answer(stream: AsyncGenerator[bytes, None]) -> Response:
    """An error before the first piece is an answer of its own."""
    await anext(stream)
    return EndlessEventStream(stream, headers=NOT_BUFFERED)


@dataclass(frozen=True, slots=True)
class _EventPieces:
    """*place* is the event behind which it begins; None: with what happens from now on."""

    request: Request
    runtime: Runtime
    event_filter: EventFilter
    place: int | None

    @property
    def feed(self) -> EventFeed:
        return self.runtime.events.feed

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The first piece is empty, and is yielded once nothing can be refused any more."""
        await self._require_kept()
        async with (
            self.feed.following() as now,
            aclosing(self._guarded(self._pieces(max(now, self.feed.began_behind)))) as pieces,
        ):
            yield b""
            async for piece in pieces:
                yield piece

    async def events_of(self, job_id: str) -> AsyncGenerator[bytes, None]:
        await self._require_kept()
        following = self.feed.following(job_id=job_id)
        async with following as now, aclosing(self._guarded(self._pieces_of(job_id, now))) as pieces:
            yield b""
            async for piece in pieces:
                yield piece

    async def _require_kept(self) -> None:
        if self.place is not None:
            await run_in_threadpool(self.runtime.events.reader.require_kept, self.place)

    async def _pieces(self, now: int) -> AsyncGenerator[bytes, None]:
        async with aclosing(self.feed.batches(self.event_filter, self._start(now))) as batches:
            async for batch in batches:
                yield _encoded(batch.events)

    async def _pieces_of(self, job_id: str, now: int) -> AsyncGenerator[bytes, None]:
        """Of a job that had ended before: what is kept behind the place, and how it ended.

        Ends without the last event if that does not come: it was erased with the job's namespace.
        """
        info = await run_in_threadpool(self.runtime.ingest.jobs.get, job_id)
        shown = JobState.of(info)
        yield _state(shown)
        ended_at = None if shown.outcome is None else -math.inf
        async with aclosing(self.feed.batches(self.event_filter, self._start(now))) as batches:
            async for batch in batches:
                state = self.feed.jobs.get(job_id, shown)
                yield (_state(state) if state != shown else b"") + _encoded(batch.events)
                shown = state
                if any(event.type == EventType.JOB_FINISHED for event in batch.events):
                    return
                if ended_at is None and state.outcome is not None:
                    ended_at = time.monotonic()
                if batch.is_last and ended_at is not None and time.monotonic() - ended_at > LATEST_EVENT_SECONDS:
                    return

    def _start(self, now: int) -> int:
        return now if self.place is None else self.place

    async def _guarded(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The pieces that are not empty, and comments in long silences. Ends with an event if the key does."""
        checked = sent = time.monotonic()
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    now = time.monotonic()
                    if now - checked >= CHECK_SECONDS:
                        await require_still_valid(self.request)
                        checked = now
                    if piece or now - sent >= KEEP_ALIVE_SECONDS:
                        yield piece or KEEPALIVE_COMMENT
                        sent = time.monotonic()
        except Exception as error:
            problem = await problem_of(self.request, error)
            yield format_sse_event(event="error", data_str=bytes(problem.body).decode())


def _page(runtime: Runtime, event_filter: EventFilter, after: int, limit: int) -> EventPage:
    """The cursor is an event of the reader's own: how far others have come is not the reader's to know.

    Where few events match, the page ends after STEPS_PER_PAGE steps, with fewer events than *limit*, and has_more.
    """
    reader = runtime.events.reader
    reader.require_kept(after)
    until, place, steps = reader.horizon.settled(), after, 0
    collected: list[RecordedEvent] = []
    while len(collected) <= limit and place < until and steps < STEPS_PER_PAGE:
        page, place = reader.page(event_filter, after=place, until=until, limit=limit + 1 - len(collected))
        collected, steps = collected + page, steps + 1
    data = [EventOut.of(each) for each in collected[:limit]]
    if len(collected) <= limit and place < until:
        return EventPage(data=data, has_more=True, next_cursor=str(place))
    return EventPage(data=data, has_more=len(collected) > limit, next_cursor=data[-1].id if data else str(after))


def _types(value: str | None) -> frozenset[EventType] | None:
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    for name in names:
        if name not in list(EventType):
            raise Invalid(f"There are no events of the type {name!r}: there are {', '.join(EventType)}.", param="types")
    return frozenset(map(EventType, names))


def _place(last_event_id: str | None, after: str | None) -> int | None:
    """The header counts, since a client that connects again sends its first URL."""
    for name, value in (("Last-Event-ID", last_event_id), ("after", after)):
        if value is None:
            continue
        if not _NUMBER.fullmatch(value):
            raise Invalid(f"{name} is the id of an event, a number, not {value[:100]!r}.", param=name)
        return int(value)
    return None


def _encoded(events: Sequence[RecordedEvent]) -> bytes:
    return b"".join(
        format_sse_event(id=str(event.number), event=event.type, data_str=EventOut.of(event).model_dump_json())
        for event in events
    )


def _state(state: JobState) -> bytes:
    return format_sse_event(event=JOB, data_str=json.dumps(asdict(state)))
