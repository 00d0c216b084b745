"""The answerer that asks a language model: any server of OpenAI's ``POST /chat/completions`` (vLLM, Ollama, …)."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cached_property
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from engines.answerers.base import Ending, Prompt
from engines.answerers.chat_answer import UNCUT_MESSAGE_CHARS, parser_for
from engines.openai_http import RetryLater, address, is_for_later, pause_seconds, retry_after_seconds, server_message
from errors import LlmFailed, LlmTooSlow, LlmUnavailable, ServiceError
from text.prompts import messages

_CONNECT_SECONDS = 10.0
_LONGEST_WAIT_SECONDS = 30.0
_LONGEST_BYTES = 8 << 20
_REFUSAL_BYTES = 64 << 10
_SHOWN_CHARS = 300


class OpenAiAnswerer:
    """Each answer has a connection of its own, which is closed when the answer ends or nobody wants it any more.

    It is asynchronous because an answer takes seconds to minutes: a thread for each would be missed elsewhere.
    """

    def __init__(
        self, base_url: str, *, model: str, api_key: str = "", timeout_seconds: float = 120.0, retries: int = 2
    ) -> None:
        try:
            self._url, self._auth = address(base_url, "chat/completions")
        except httpx.InvalidURL:
            self._url, self._auth = "", None
        self._secrets = [secret for secret in (api_key, *_as_sent(self._auth)) if secret]
        self.model = model
        self._api_key = api_key
        self._timeout_seconds = timeout_seconds
        self._retries = retries

    async def answer(self, asked: Prompt) -> AsyncGenerator[str | Ending, None]:
        self._require_settings()
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        try:
            async with (
                self._client() as client,
                aclosing(await self._opened(client, asked, deadline)) as response,
                aclosing(self._pieces(response, deadline)) as pieces,
            ):
                async for piece in pieces:
                    yield piece
        except ServiceError as error:
            raise type(error)(self._shown(str(error))) from error

    def _require_settings(self) -> None:
        if not self._url.startswith(("http://", "https://")):
            raise LlmUnavailable("LLM_BASE_URL is not a URL such as http://localhost:8080/v1.")
        if not self.model:
            raise LlmUnavailable("LLM_BASE_URL is set, but LLM_MODEL does not say which model to ask for.")

    def _client(self) -> httpx.AsyncClient:
        headers = {"Accept-Encoding": "identity"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)  # what comes after is under the deadline
        return httpx.AsyncClient(headers=headers, auth=self._auth, timeout=timeout, verify=self._trusted)

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        """Read once: it takes longer than all else about a connection."""
        return httpx.create_ssl_context()

    async def _opened(self, client: httpx.AsyncClient, asked: Prompt, deadline: float) -> httpx.Response:
        """The answer's beginning; asked for again while the server says or seems that it will do better later."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RetryLater), stop=self._must_stop, wait=pause_seconds, reraise=True
        )
        try:
            async with asyncio.timeout_at(deadline):
                return await retrying(_open, client, self._url, self._body(asked))
        except TimeoutError as error:
            raise self._too_slow() from error
        except RetryLater as error:
            raise LlmUnavailable(f"The language model's server does not answer: {error}") from error

    def _must_stop(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        asked_for = (error.retry_after_seconds if isinstance(error, RetryLater) else None) or 0
        return state.attempt_number > self._retries or asked_for > _LONGEST_WAIT_SECONDS

    def _body(self, asked: Prompt) -> dict[str, Any]:
        given = {"temperature": asked.temperature, "max_tokens": asked.max_tokens}
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages(asked.question, asked.excerpts, asked.system_prompt),
            **{name: value for name, value in given.items() if value is not None},
        }
        return body | {"stream": True, "stream_options": {"include_usage": True}} if asked.is_streamed else body

    async def _pieces(self, response: httpx.Response, deadline: float) -> AsyncGenerator[str | Ending, None]:
        parser = parser_for(response.headers.get("Content-Type", ""))
        async with aclosing(self._received(response, deadline)) as contents:
            async for content in contents:
                for piece in parser.feed(content):
                    yield piece
                if parser.is_complete:  # a server may leave the connection open
                    break
        for piece in parser.end():
            yield piece
        yield parser.ending

    async def _received(self, response: httpx.Response, deadline: float) -> AsyncGenerator[bytes, None]:
        """Not a byte after the deadline, and no more than _LONGEST_BYTES."""
        contents, size = aiter(response.aiter_bytes()), 0
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    content = await anext(contents, b"")
            except TimeoutError as error:
                raise self._too_slow() from error
            except httpx.RequestError as error:
                raise LlmFailed("The language model's server broke off in the middle of its answer.") from error
            size += len(content)
            if size > _LONGEST_BYTES:
                raise LlmFailed(f"The language model's server answered with more than {_LONGEST_BYTES >> 20} MB.")
            if not content:
                return
            yield content

    def _too_slow(self) -> LlmTooSlow:
        return LlmTooSlow(
            f"The language model did not answer within {self._timeout_seconds:g} seconds (LLM_TIMEOUT_SECONDS)."
        )

    def _shown(self, message: str) -> str:
        """A server may repeat what it was sent."""
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return message if len(message) <= _SHOWN_CHARS else f"{message[:_SHOWN_CHARS]}…"


def _as_sent(auth: tuple[str, str] | None) -> tuple[str, ...]:
    return (auth[1], base64.b64encode(":".join(auth).encode()).decode()) if auth else ()


async def _open(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> httpx.Response:
    """An answer with status 2xx, its body still to be read."""
    try:
        response = await client.send(client.build_request("POST", url, json=body), stream=True)
        if response.is_success:
            return response
        async with aclosing(response):
            content = await _beginning(response)
    except httpx.RequestError as error:
        raise RetryLater(type(error).__name__) from error
    status, told = response.status_code, server_message(content, max_chars=UNCUT_MESSAGE_CHARS)
    if status in (401, 403):
        raise LlmFailed(f"The language model's server does not let us in (status {status}): check LLM_API_KEY.")
    if is_for_later(status):
        raise RetryLater(f"status {status}. {told}", retry_after_seconds=retry_after_seconds(response.headers))
    raise LlmFailed(f"The language model's server answered {status}: check LLM_BASE_URL and LLM_MODEL. {told}")


async def _beginning(response: httpx.Response) -> bytes:
    content = b""
    async for more in response.aiter_bytes():
        content += more
        if len(content) > _REFUSAL_BYTES:
            break
    return content
