"""/v1/docs/upsert/stream: any number of documents, one per line, each answered by a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.access import admit, admit_tenants, needs
from api.dependencies import InRuntime
from api.headers import NOT_BUFFERED
from api.limits import LARGE_BODY_BYTES, LINES_PER_BATCH, MIB, line_batch_bytes
from api.lines import NDJSON, Line, LineLimits, LineReader, LinesResponse, Outbox
from api.problems import problem_of
from api.responses import ErrorOut, raises
from api.routing import StrictRoute, validated
from api.tenants import BodyContext
from api.v1.common import Out
from api.v1.documents import DocIn
from domain import Scope
from errors import Invalid, Overloaded, RateLimited, TooLarge
from services.ingest.drafts import NewDoc
from services.ingest.storing import DocOutcome, Store, store_each

router = APIRouter(prefix="/v1/docs", tags=["documents"], route_class=StrictRoute)

READ_AS_LINES = ("", NDJSON, "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json")
BODY = {
    "requestBody": {
        "required": True,
        "description": "A document per line, each with the fields of /v1/docs/upsert; blank lines are skipped",
        "content": {NDJSON: {"schema": {"$ref": "#/components/schemas/DocIn"}}},
    }
}
ANSWER = "A line for each document, in order. If the body breaks off, the last line has the error and no doc_id."
_DOC = TypeAdapter[Any](DocIn)


class LineOut(Out):
    """stored: searches find it. accepted: the worker that runs job_id publishes it. failed: error says why; the others
    are not affected. A field that does not apply is left out.
    """

    line: int
    status: Literal["stored", "accepted", "failed"]
    doc_id: str | None = None
    job_id: str | None = None
    error: ErrorOut | None = None


@router.post(
    "/upsert/stream",
    response_class=LinesResponse,
    responses={200: {"model": LineOut, "description": ANSWER}},
    openapi_extra=BODY,
)
@needs(Scope.INGEST)
@raises(Overloaded)
async def upsert_stream(
    request: Request,
    runtime: InRuntime,
    *,
    async_mode: Annotated[bool, Query(description="A worker embeds and publishes the documents later")] = False,
) -> LinesResponse:
    """Store any number of documents, one per line (NDJSON); each is answered by a line while the rest still arrives."""
    _require_lines(request.headers.get("content-type", ""))
    documents, largest = runtime.ingest.documents, runtime.settings.max_body_mb * MIB
    limits = LineLimits(min(LINES_PER_BATCH, runtime.settings.max_batch_docs), line_batch_bytes(largest), largest)
    lines = LineReader(request.stream(), limits, request.state.large_bodies.received)
    try:
        await lines.has_more()
    except ClientDisconnect as error:
        raise Invalid("The connection broke before the body began.") from error
    stream = _Stream(request, lines, documents.accept if async_mode else documents.upsert, is_async=async_mode)
    return LinesResponse(stream.answer(), headers=NOT_BUFFERED)


@dataclass(slots=True)
class _Arrival:
    """A line, and what has become of it so far."""

    line: Line
    doc: NewDoc | None = None
    outcome: DocOutcome = field(default_factory=DocOutcome)


@dataclass(frozen=True, slots=True)
class _Stream:
    request: Request
    lines: LineReader
    store: Store
    is_async: bool

    async def answer(self) -> AsyncGenerator[bytes, None]:
        """The answer's lines. The body is read while they are sent."""
        outbox = Outbox()
        working = asyncio.create_task(self._work(outbox))
        try:
            async for piece in outbox.pieces():
                yield piece
            await working
        finally:
            working.cancel()

    async def _work(self, outbox: Outbox) -> None:
        """An error that is not one line's ends the stream, with a line of its own."""
        try:
            await self._work_on_a_batch(outbox)
            while await self.lines.has_more():
                await self._admit_again()
                await self._work_on_a_batch(outbox)
        except ClientDisconnect:
            return
        except Exception as error:
            outbox.add(await self._failed(self.lines.next_number, error, {}))
        finally:
            self.lines.close()
            outbox.complete()

    async def _work_on_a_batch(self, outbox: Outbox) -> None:
        async with AsyncExitStack() as held:
            batch = await self.lines.batch(held)
            try:
                arrivals = await self._read(batch, held)
                await self._admit_tenants(arrivals)
                await run_in_threadpool(self._store, arrivals)
            except Exception as error:  # such as a lack of memory
                arrivals = [_Arrival(line, outcome=DocOutcome(error=error)) for line in batch]
            outbox.add(b"".join([await self._reported(arrival) for arrival in arrivals]))

    async def _read(self, batch: Sequence[Line], held: AsyncExitStack) -> list[_Arrival]:
        """Like other bodies: a large batch waits for its turn, and for the memory that its values take."""
        large, context = self.request.state.large_bodies, BodyContext(principal=self.request.state.principal)
        if sum(line.size for line in batch) < LARGE_BODY_BYTES:
            return [_read(line, context) for line in batch]
        await held.enter_async_context(large.room_for(b"\n".join(line.content or b"" for line in batch)))
        arrivals: list[_Arrival] = await large.parse(lambda: [_read(line, context) for line in batch])
        return arrivals

    def _store(self, arrivals: Sequence[_Arrival]) -> None:
        read = [arrival for arrival in arrivals if arrival.doc is not None]
        docs = [arrival.doc for arrival in read if arrival.doc is not None]
        state = self.request.state
        state.tenant = state.tenant or (docs[0].tenant_id if docs else None)
        for arrival, outcome in zip(read, store_each(self.store, docs), strict=True):
            arrival.outcome = outcome

    async def _admit_tenants(self, arrivals: Sequence[_Arrival]) -> None:
        """Each batch is a request of its own to its tenants' rate limits too."""
        while True:
            try:
                return await admit_tenants(self.request, lambda: [each.doc.tenant_id for each in arrivals if each.doc])
            except RateLimited as error:
                await asyncio.sleep(error.seconds)

    async def _admit_again(self) -> None:
        """Each further batch is a request of its own to the key and its rate limit, and waits until it may be one."""
        while True:
            try:
                await admit(self.request, (Scope.INGEST,))
            except RateLimited as error:
                await asyncio.sleep(error.seconds)
            else:
                return

    async def _reported(self, arrival: _Arrival) -> bytes:
        number, outcome = arrival.line.number, arrival.outcome
        known = {"doc_id": arrival.doc.doc_id} if arrival.doc is not None else {}
        if outcome.error is not None:
            return await self._failed(number, outcome.error, known)
        if outcome.job_id is not None:
            known["job_id"] = outcome.job_id
        return _encoded(LineOut(line=number, status="accepted" if self.is_async else "stored", **known))

    async def _failed(self, number: int, error: Exception, known: Mapping[str, str]) -> bytes:
        problem = await problem_of(self.request, error)
        return _encoded(LineOut(line=number, status="failed", error=ErrorOut(**problem.error), **known))


def _read(line: Line, context: BodyContext) -> _Arrival:
    try:
        return _Arrival(line, _doc(line, context))
    except Exception as error:
        return _Arrival(line, outcome=DocOutcome(error=error))


def _doc(line: Line, context: BodyContext) -> NewDoc:
    if line.content is None:
        raise TooLarge("The line is longer than a document may be (MAX_BODY_MB): split it into several documents.")
    doc: DocIn = validated(_DOC, context, line.content)
    return doc.to_doc()


def _encoded(line: LineOut) -> bytes:
    return line.model_dump_json(exclude_unset=True).encode() + b"\n"


def _require_lines(content_type: str) -> None:
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in READ_AS_LINES:
        raise Invalid(f"Send a JSON document per line, with Content-Type: {NDJSON}, not {kind[:100]!r}.")
