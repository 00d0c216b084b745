"""/v1/ask: answer a question from the passages that a search finds, with citations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Send

from api.access import needs
from api.dependencies import Caller, Filters, InRuntime, RequestBody, TenantInBody
from api.problems import problem_of
from api.responses import EMBEDDING, raises
from api.routing import StrictRoute
from api.strings import Name, QueryText, SystemPrompt, at_most
from api.v1.search import checked
from domain import Mode, Scope
from errors import LlmFailed, LlmTooSlow, LlmUnavailable, Overloaded, VersionMismatch
from runtime.parts import Runtime
from services.answers.asking import AskRequest, Citation, Event, FinalAnswer, Sources, Token
from services.search.question import Question

router = APIRouter(prefix="/v1", tags=["ask"], route_class=StrictRoute)

CLIENT_CLOSED_REQUEST = 499
STREAMED = """The answer. With stream: an event passages, any number of token, then citations and done, which hold
what the answer has without stream; or error, with a problem, instead of what could not come."""
EVENT = {
    "type": "object",
    "properties": {
        "event": {"enum": ["passages", "token", "citations", "done", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}
NOT_BUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class AskIn(RequestBody):
    tenant_id: TenantInBody
    namespace: Name
    question: QueryText
    top_k: Annotated[int, at_most("max_top_k"), Field(ge=1, description="Most passages to answer from")] = 5
    min_score: float = Field(0.0, allow_inf_nan=False, description="Passages below, as a search scores, are not used")
    mode: Mode | None = Field(None, description="How passages are looked for")
    filters: Filters = Field(None, description="Which passages may be used, as for a search")
    system_prompt: SystemPrompt | None = Field(None, description="Instead of the team's own")
    temperature: float | None = Field(None, ge=0, le=2, description="Left to the model's server if left out")
    max_tokens: int | None = Field(None, ge=1, le=1_000_000, description="Longest answer; likewise")
    stream: bool = Field(False, description="Answer with server-sent events")


class CitationOut(BaseModel):
    """rank is the number in the answer's markers: [1]. score is that of a search in the same mode."""

    rank: int
    doc_id: str
    chunk_id: str
    title: str | None
    text: str
    score: float
    page_start: int | None
    page_end: int | None
    char_start: int
    char_end: int


class TokensOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    prompt_tokens: int
    completion_tokens: int


class AskOut(BaseModel):
    """citations are the passages that the answer names; removed_citations its markers that named none.

    model is null where nothing was found; hint may then say why. finish_reason is length where the answer was cut at
    max_tokens; reranked is false where the reranker failed, null where there is none.
    """

    answer: str
    citations: list[CitationOut]
    removed_citations: list[str]
    used_rag: bool
    model: str | None
    usage: TokensOut | None
    finish_reason: str | None
    latency_ms: int
    query_id: str
    hint: str | None
    reranked: bool | None


class Events(EventSourceResponse):
    """Server-sent events. When the client leaves, whatever makes them is closed at once."""

    body_iterator: AsyncGenerator[bytes, None]

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self.body_iterator):
            await super().stream_response(send)


@router.post(
    "/ask",
    response_model=AskOut,
    responses={200: {"description": STREAMED, "content": {"text/event-stream": {"itemSchema": EVENT}}}},
)
@needs(Scope.SEARCH)
@raises(*EMBEDDING, VersionMismatch, Overloaded, LlmUnavailable, LlmFailed, LlmTooSlow)
async def ask(body: AskIn, request: Request, runtime: InRuntime, caller: Caller) -> AskOut | Response:
    """An answer with citations. Its markers, [1], are checked: one that names no passage is removed and told."""
    events = runtime.answers.asking.answer(_asked(body, runtime, api_key_id=caller.key_id))
    if body.stream:
        first = await anext(events)  # what is wrong before there is anything to tell is an answer of its own
        return Events(_told(request, first, events), headers=NOT_BUFFERED)
    answered = await _unless_gone(request, events)
    return Response(status_code=CLIENT_CLOSED_REQUEST) if answered is None else _ask_out(answered)


def _asked(body: AskIn, runtime: Runtime, *, api_key_id: str | None) -> AskRequest:
    question = Question(
        body.tenant_id,
        body.namespace,
        body.question,
        body.top_k,
        filters=body.filters,
        mode=body.mode or runtime.settings.search_mode,
        min_score=body.min_score,
        rerank=runtime.search.reranking.is_set,
    )
    return AskRequest(
        question=checked(question, runtime.settings, field="question"),
        system_prompt=body.system_prompt,
        temperature=body.temperature,
        max_tokens=body.max_tokens,
        is_streamed=body.stream,
        api_key_id=api_key_id,
    )


async def _unless_gone(request: Request, events: AsyncGenerator[Event, None]) -> FinalAnswer | None:
    """The last of *events*; None when the client leaves before it, and then nothing goes on."""
    work, gone = asyncio.create_task(_last(events)), asyncio.create_task(_left(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await work if work.done() else None
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.wait({work, gone})


async def _last(events: AsyncGenerator[Event, None]) -> FinalAnswer:
    async with aclosing(events):
        *_, last = [event async for event in events]
    assert isinstance(last, FinalAnswer)
    return last


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _told(request: Request, first: Event, events: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    """The events as they are sent. What goes wrong now is told by the last of them."""
    try:
        async with aclosing(events):
            for each in _sent(first):
                yield each
            async for event in events:
                for each in _sent(event):
                    yield each
    except Exception as error:
        problem = await problem_of(request, error)
        yield format_sse_event(event="error", data_str=bytes(problem.body).decode())


def _sent(event: Event) -> list[bytes]:
    if isinstance(event, Token):
        return [_line("token", {"text": event.text})]
    if isinstance(event, Sources):
        passages = [_citation_out(each).model_dump() for each in event.passages]
        return [_line("passages", {"query_id": event.query_id, "passages": passages})]
    told = _ask_out(event).model_dump(exclude={"answer"})
    citations = {name: told.pop(name) for name in ("citations", "removed_citations")}
    return [_line("citations", citations), _line("done", told)]


def _line(event: str, data: dict[str, Any]) -> bytes:
    return format_sse_event(event=event, data_str=json.dumps(data, ensure_ascii=False))


def _ask_out(answered: FinalAnswer) -> AskOut:
    return AskOut(
        answer=answered.text,
        citations=[_citation_out(each) for each in answered.citations],
        removed_citations=answered.removed,
        used_rag=answered.used_rag,
        model=answered.model,
        usage=TokensOut.model_validate(answered.usage) if answered.usage else None,
        finish_reason=answered.finish_reason,
        latency_ms=answered.latency_ms,
        query_id=answered.query_id,
        hint=answered.hint,
        reranked=answered.reranked,
    )


def _citation_out(citation: Citation) -> CitationOut:
    passage = citation.passage
    return CitationOut(
        rank=citation.rank,
        doc_id=passage.doc_id,
        chunk_id=passage.chunk_id,
        title=passage.title,
        text=passage.text,
        score=passage.score,
        page_start=passage.page_start,
        page_end=passage.page_end,
        char_start=passage.char_start,
        char_end=passage.char_end,
    )
