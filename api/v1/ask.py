"""/v1/ask: answer a question from the passages that a search finds, with citations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.sse import format_sse_event
from pydantic import Field

from api.access import needs
from api.dependencies import Caller, CallersRestriction, InRuntime
from api.fields import Filters
from api.headers import NOT_BUFFERED
from api.problems import problem_of
from api.responses import EMBEDDING, raises
from api.routing import StrictRoute
from api.sse import EventStream
from api.strings import QueryText, SystemPrompt, at_most
from api.v1.common import Out, PlaceIn
from domain import Mode, Scope
from errors import LlmFailed, LlmTooSlow, LlmUnavailable, Overloaded, VersionMismatch
from services.answers.asking import AskRequest, Event, FinalAnswer, Sources, Token
from services.search.checking import QuestionLimits, checked, choose_mode
from services.search.question import Question
from text.restriction import Restriction

router = APIRouter(prefix="/v1", tags=["ask"], route_class=StrictRoute)

CLIENT_CLOSED_REQUEST = 499
STREAMED = """The answer. With stream: one event passages, any number of token, then citations and done, which have
the fields of the answer without stream; or error, with a problem, in place of the rest."""
EVENT = {
    "type": "object",
    "properties": {
        "event": {"enum": ["passages", "token", "citations", "done", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}


class AskIn(PlaceIn):
    question: QueryText
    top_k: Annotated[int, at_most("max_top_k"), Field(ge=1, description="Most passages to answer from")] = 5
    min_score: float | None = Field(
        None,
        allow_inf_nan=False,
        examples=[0],
        description="Passages with a lower search score are not used. Default: those unrelated to the question",
    )
    mode: Mode | None = Field(None, description="How passages are searched")
    filters: Filters = Field(None, description="Which passages may be used, as in a search")
    system_prompt: SystemPrompt | None = Field(None, description="Instead of the team's")
    temperature: float | None = Field(None, ge=0, le=2, description="Left out: the model server's default")
    max_tokens: int | None = Field(None, ge=1, le=1_000_000, description="Longest answer; left out: likewise")
    stream: bool = Field(False, description="Answer with server-sent events")


class CitationOut(Out):
    """rank is the number in the answer's markers: [1]. score is the search's, in the same mode."""

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


class TokensOut(Out):
    prompt_tokens: int
    completion_tokens: int


class AskOut(Out):
    """citations are the passages that the answer cites; removed_citations are markers that named no passage.

    model is null if nothing here answers the question; hint may then say why. finish_reason is length if the answer
    was cut at max_tokens; reranked is false if the reranker failed, null if there is none.
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


@router.post(
    "/ask",
    response_model=AskOut,
    responses={200: {"description": STREAMED, "content": {"text/event-stream": {"itemSchema": EVENT}}}},
)
@needs(Scope.SEARCH)
@raises(*EMBEDDING, VersionMismatch, Overloaded, LlmUnavailable, LlmFailed, LlmTooSlow)
async def ask(
    body: AskIn, request: Request, runtime: InRuntime, caller: Caller, restriction: CallersRestriction
) -> AskOut | Response:
    """An answer with citations. Its markers, [1], are checked: one that names no passage is removed and reported."""
    question = _question(body, runtime.search.limits, restriction)
    events = runtime.answers.asking.answer(_to_ask(body, question, api_key_id=caller.key_id))
    if body.stream:
        first = await anext(events)  # an error before the first event is a problem of its own
        return EventStream(_streamed(request, first, events), headers=NOT_BUFFERED)
    answered = await unless_disconnected(request, events)
    return Response(status_code=CLIENT_CLOSED_REQUEST) if answered is None else AskOut.model_validate(answered)


def _question(body: AskIn, limits: QuestionLimits, restriction: Restriction | None) -> Question:
    question = Question(
        body.tenant_id,
        body.namespace,
        body.question,
        body.top_k,
        filters=body.filters,
        mode=choose_mode(body.mode, limits),
        min_score=body.min_score,
        rerank=limits.has_reranker,
        restriction=restriction,
    )
    return checked(question, limits, field="question")


def _to_ask(body: AskIn, question: Question, *, api_key_id: str | None) -> AskRequest:
    return AskRequest(
        question=question,
        system_prompt=body.system_prompt,
        temperature=body.temperature,
        max_tokens=body.max_tokens,
        is_streamed=body.stream,
        api_key_id=api_key_id,
    )


async def unless_disconnected(request: Request, events: AsyncGenerator[Event, None]) -> FinalAnswer | None:
    """The last of *events*; None, with all work cancelled, if the client disconnects before it."""
    work, disconnected = asyncio.create_task(_last(events)), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({work, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        return await work if work.done() else None
    finally:
        for task in (work, disconnected):
            task.cancel()
        await asyncio.wait({work, disconnected})


async def _last(events: AsyncGenerator[Event, None]) -> FinalAnswer:
    async with aclosing(events):
        *_, last = [event async for event in events]
    assert isinstance(last, FinalAnswer)
    return last


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _streamed(request: Request, first: Event, events: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    """The events as bytes. An error becomes the last event."""
    try:
        async with aclosing(events):
            for each in _encoded(first):
                yield each
            async for event in events:
                for each in _encoded(event):
                    yield each
    except Exception as error:
        problem = await problem_of(request, error)
        yield format_sse_event(event="error", data_str=bytes(problem.body).decode())


def _encoded(event: Event) -> list[bytes]:
    if isinstance(event, Token):
        return [_line("token", {"text": event.text})]
    if isinstance(event, Sources):
        passages = [CitationOut.model_validate(each).model_dump() for each in event.passages]
        return [_line("passages", {"query_id": event.query_id, "passages": passages})]
    summary = AskOut.model_validate(event).model_dump(exclude={"answer"})
    citations = {name: summary.pop(name) for name in ("citations", "removed_citations")}
    return [_line("citations", citations), _line("done", summary)]


def _line(event: str, data: dict[str, Any]) -> bytes:
    return format_sse_event(event=event, data_str=json.dumps(data, ensure_ascii=False))
