"""/v1/chat/completions: a namespace answers as if it were a model."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import format_sse_event
from pydantic import Field

from api.access import needs
from api.dependencies import Caller, InRuntime
from api.doors import DoorBody, DoorRoute, NamedTenant, place_of
from api.headers import NOT_BUFFERED
from api.openai.citing import footer, url_citations
from api.problems import problem_of
from api.responses import EMBEDDING, raises
from api.sse import EventStream
from api.strings import Key, Word, without_nul
from api.v1.ask import CLIENT_CLOSED_REQUEST, unless_disconnected
from domain import Json, Scope
from errors import Invalid, LlmFailed, LlmTooSlow, LlmUnavailable, NotFound, Overloaded, VersionMismatch
from runtime.parts import Runtime
from services.answers.asking import AskRequest, Event, FinalAnswer, Sources, Token
from services.search.checking import checked, choose_mode
from services.search.question import Question

router = APIRouter(prefix="/v1/chat", tags=["openai"], route_class=DoorRoute)

TOP_K = 5
MOST_MESSAGES, MOST_PARTS, MOST_FIELDS, LONGEST_MESSAGE = 2000, 100, 20, 1_000_000
LONGEST_SYSTEM_PROMPT = 20_000
INSTRUCTING = ("system", "developer")
REASONS = ("stop", "length", "content_filter")
STREAM = {200: {"description": "With stream: chunks", "content": {"text/event-stream": {"schema": {"type": "string"}}}}}

Part = Annotated[dict[str, Any], Field(max_length=MOST_FIELDS)]
Content = (
    Annotated[str, Field(max_length=LONGEST_MESSAGE)]
    | Annotated[list[Part], Field(fail_fast=True, max_length=MOST_PARTS)]
)


class MessageIn(DoorBody):
    role: Word
    content: Content | None = None


class ChatIn(DoorBody):
    model: Key = Field(description='A namespace; without keys also "tenant/namespace"')
    messages: Annotated[list[MessageIn], Field(fail_fast=True, min_length=1, max_length=MOST_MESSAGES)] = Field(
        description="The last is the question; of the others, those of the system are its instructions",
        examples=[[{"role": "user", "content": "Who goes to sea?"}]],
    )
    stream: bool | None = None
    stream_options: dict[str, Any] | None = Field(None, description="include_usage: end with the tokens", max_length=10)
    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    max_completion_tokens: int | None = Field(None, ge=1, le=1_000_000, description="The newer name of max_tokens")
    n: int | None = Field(None, ge=1, le=1, description="A question has one answer")

    @property
    def tenant_id(self) -> str:
        return place_of(None, self.model)[0]

    @property
    def includes_usage(self) -> bool:
        return (self.stream_options or {}).get("include_usage") is True


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer on its way. *namespace* is what the answer cites from."""

    id: str
    model: str
    namespace: str
    is_quoted: bool
    created: int

    def chunk(self, delta: Json, finish_reason: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def usage_chunk(self, final: FinalAnswer) -> Json:
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage_of(final)}

    def whole(self, final: FinalAnswer) -> Json:
        message: Json = {"role": "assistant", "content": final.answer + self.footer(final), "refusal": None}
        message |= {"annotations": url_citations(final.answer, final.citations, self.namespace)}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason_of(final)}
        named = {"system_fingerprint": final.model, "usage": usage_of(final)}
        return {**self._head("chat.completion"), "choices": [choice], **named}

    def footer(self, final: FinalAnswer) -> str:
        return footer(final.citations, is_quoted=self.is_quoted and final.used_rag)

    def _head(self, kind: str) -> Json:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


@router.post("/completions", responses=STREAM)  # type: ignore[arg-type]
@needs(Scope.SEARCH)
@raises(*EMBEDDING, VersionMismatch, NotFound, Overloaded, LlmUnavailable, LlmFailed, LlmTooSlow)
async def complete(body: ChatIn, request: Request, runtime: InRuntime, caller: Caller, tenant: NamedTenant) -> Response:
    """Answer the last message from the documents of a namespace. Each question stands alone."""
    place = place_of(tenant, body.model)
    events = runtime.answers.asking.answer(_to_ask(body, place, runtime, api_key_id=caller.key_id))
    first = await anext(events)
    assert isinstance(first, Sources)
    if first.missing is not None:
        await events.aclose()
        raise NotFound(first.missing, param="model")
    is_quoted = not runtime.settings.llm_base_url
    completion = Completion(f"chatcmpl-{first.query_id}", body.model, place[1], is_quoted, int(time.time()))
    if body.stream:
        streamed = _streamed(request, events, completion, includes_usage=body.includes_usage)
        return EventStream(streamed, headers=NOT_BUFFERED)
    final = await unless_disconnected(request, events)
    return Response(status_code=CLIENT_CLOSED_REQUEST) if final is None else JSONResponse(completion.whole(final))


def usage_of(final: FinalAnswer) -> Json:
    """No tokens where no language model answered."""
    prompt = final.usage.prompt_tokens if final.usage else 0
    completion = final.usage.completion_tokens if final.usage else 0
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def reason_of(final: FinalAnswer) -> str:
    return final.finish_reason if final.finish_reason in REASONS else "stop"


def _to_ask(body: ChatIn, place: tuple[str, str], runtime: Runtime, *, api_key_id: str | None) -> AskRequest:
    limits = runtime.search.limits
    question = Question(
        *place,
        _question_in(body.messages),
        min(TOP_K, limits.top_k),
        mode=choose_mode(None, limits),
        rerank=limits.has_reranker,
    )
    return AskRequest(
        question=checked(question, limits, field=f"messages.{len(body.messages) - 1}.content"),
        system_prompt=_system_prompt_in(body.messages),
        temperature=body.temperature,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        is_streamed=bool(body.stream),
        api_key_id=api_key_id,
    )


def _question_in(messages: list[MessageIn]) -> str:
    number, last = len(messages) - 1, messages[-1]
    if last.role != "user":
        raise Invalid(
            f"The last message has the role {last.role!r}: end with the user's question.",
            param=f"messages.{number}.role",
        )
    return _text_of(last, number)


def _system_prompt_in(messages: list[MessageIn]) -> str | None:
    """The team's own applies where there is none."""
    texts = [_text_of(each, number) for number, each in enumerate(messages) if each.role in INSTRUCTING]
    prompt = "\n\n".join(filter(None, map(str.strip, texts)))
    if len(prompt) > LONGEST_SYSTEM_PROMPT:
        raise Invalid(
            f"The system's messages have {len(prompt)} characters; at most {LONGEST_SYSTEM_PROMPT} are read.",
            param="messages",
        )
    return prompt or None


def _text_of(message: MessageIn, number: int) -> str:
    """Raises Invalid for what is no text: a picture that is ignored would be answered without being seen."""
    if isinstance(message.content, str):
        return without_nul(message.content)
    texts = [part.get("text") for part in message.content or () if part.get("type") == "text"]
    if len(texts) < len(message.content or ()) or not all(isinstance(text, str) for text in texts):
        raise Invalid(
            'Only text is read: send a string, or parts of {"type": "text", "text": "…"}.',
            param=f"messages.{number}.content",
        )
    return without_nul("\n".join(str(text) for text in texts))


async def _streamed(
    request: Request, events: AsyncGenerator[Event, None], completion: Completion, *, includes_usage: bool
) -> AsyncGenerator[bytes, None]:
    """The answer as it comes, then its sources. An error becomes the last event, as OpenAI's clients expect it."""
    try:
        async with aclosing(events):
            yield _line(completion.chunk({"role": "assistant", "content": "", "refusal": None}))
            async for event in events:
                if isinstance(event, Token):
                    yield _line(completion.chunk({"content": event.text}))
                elif isinstance(event, FinalAnswer):
                    for chunk in _last_chunks(event, completion, includes_usage=includes_usage):
                        yield _line(chunk)
        yield format_sse_event(data_str="[DONE]")
    except Exception as error:
        problem = await problem_of(request, error)
        yield _line({"error": problem.error})


def _last_chunks(final: FinalAnswer, completion: Completion, *, includes_usage: bool) -> Iterator[Json]:
    cited = url_citations(final.answer, final.citations, completion.namespace)
    yield completion.chunk({"content": completion.footer(final), "annotations": cited})
    yield completion.chunk({}, reason_of(final))
    if includes_usage:
        yield completion.usage_chunk(final)


def _line(data: Json) -> bytes:
    return format_sse_event(data_str=json.dumps(data, ensure_ascii=False))
