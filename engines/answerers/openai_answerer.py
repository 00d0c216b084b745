"""An answerer with a language model: any server with OpenAI's ``POST /chat/completions`` (vLLM, Ollama, …)."""

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
from engines.openai_http import RetryLater, address, is_retryable, pause_seconds, retry_after_seconds, server_message
from errors import LlmFailed, LlmTooSlow, LlmUnavailable, ServiceError
from text.prompts import messages

_CONNECT_SECONDS = 10.0
_MAX_WAIT_SECONDS = 30.0
_MAX_BYTES = 8 << 20
_ERROR_BYTES = 64 << 10
_MESSAGE_CHARS = 300


class OpenAiAnswerer:
    """Each answer has its own connection, which is closed when the answer ends or its reader is gone.

    Asynchronous, because an answer takes seconds to minutes and would block a thread for that time.
    """

    def __init__(
        self, base_url: str, *, model: str, api_key: str = "", timeout_seconds: float = 120.0, retries: int = 2
    ) -> None:
        try:
            self._url, self._auth = address(base_url, "chat/completions")
        except httpx.InvalidURL:
            self._url, self._auth = "", None
        self._secrets = [secret for secret in (api_key, *_credentials(self._auth)) if secret]
        self.model = model
        self._api_key = api_key
        self._timeout_seconds = timeout_seconds
        self._retries = retries

    async def answer(self, prompt: Prompt) -> AsyncGenerator[str | Ending, None]:
        self._require_settings()
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        try:
            async with (
                self._client() as client,
                aclosing(await self._open_response(client, prompt, deadline)) as response,
                aclosing(self._pieces(response, deadline)) as pieces,
            ):
                async for piece in pieces:
                    yield piece
        except ServiceError as error:
            raise type(error)(self._without_secrets(str(error))) from error

    def _require_settings(self) -> None:
        if not self._url.startswith(("http://", "https://")):
            raise LlmUnavailable("LLM_BASE_URL is not a URL such as http://localhost:8080/v1.")
        if not self.model:
            raise LlmUnavailable("LLM_BASE_URL is set, but LLM_MODEL does not say which model to ask for.")

    def _client(self) -> httpx.AsyncClient:
        headers = {"Accept-Encoding": "identity"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)  # everything else is limited by the deadline
        return httpx.AsyncClient(headers=headers, auth=self._auth, timeout=timeout, verify=self._ssl_context)

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        """Created once: it takes longer than everything else about a connection."""
        return httpx.create_ssl_context()

    async def _open_response(self, client: httpx.AsyncClient, prompt: Prompt, deadline: float) -> httpx.Response:
        """The response, its body unread. Retries while the error is temporary."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RetryLater), stop=self._must_stop, wait=pause_seconds, reraise=True
        )
        try:
            async with asyncio.timeout_at(deadline):
                return await retrying(_open, client, self._url, self._body(prompt))
        except TimeoutError as error:
            raise self._timeout_error() from error
        except RetryLater as error:
            raise LlmUnavailable(f"The language model's server does not answer: {error}") from error

    def _must_stop(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        requested_seconds = (error.retry_after_seconds if isinstance(error, RetryLater) else None) or 0
        return state.attempt_number > self._retries or requested_seconds > _MAX_WAIT_SECONDS

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        options = {"temperature": prompt.temperature, "max_tokens": prompt.max_tokens}
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages(prompt.question, prompt.excerpts, prompt.system_prompt),
            **{name: value for name, value in options.items() if value is not None},
        }
        return body | {"stream": True, "stream_options": {"include_usage": True}} if prompt.is_streamed else body

    async def _pieces(self, response: httpx.Response, deadline: float) -> AsyncGenerator[str | Ending, None]:
        parser = parser_for(response.headers.get("Content-Type", ""))
        async with aclosing(self._chunks(response, deadline)) as contents:
            async for content in contents:
                for piece in parser.feed(content):
                    yield piece
                if parser.is_complete:  # a server may leave the connection open
                    break
        for piece in parser.end():
            yield piece
        yield parser.ending

    async def _chunks(self, response: httpx.Response, deadline: float) -> AsyncGenerator[bytes, None]:
        """Stops at the deadline, and at _MAX_BYTES."""
        contents, size = aiter(response.aiter_bytes()), 0
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    content = await anext(contents, b"")
            except TimeoutError as error:
                raise self._timeout_error() from error
            except httpx.RequestError as error:
                raise LlmFailed("The language model's server broke off in the middle of its answer.") from error
            size += len(content)
            if size > _MAX_BYTES:
                raise LlmFailed(f"The language model's server answered with more than {_MAX_BYTES >> 20} MB.")
            if not content:
                return
            yield content

    def _timeout_error(self) -> LlmTooSlow:
        return LlmTooSlow(
            f"The language model did not answer within {self._timeout_seconds:g} seconds (LLM_TIMEOUT_SECONDS)."
        )

    def _without_secrets(self, message: str) -> str:
        """A server may echo credentials in its message."""
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return message if len(message) <= _MESSAGE_CHARS else f"{message[:_MESSAGE_CHARS]}…"


def _credentials(auth: tuple[str, str] | None) -> tuple[str, ...]:
    return (auth[1], base64.b64encode(":".join(auth).encode()).decode()) if auth else ()


async def _open(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> httpx.Response:
    """A response with status 2xx, its body unread."""
    try:
        response = await client.send(client.build_request("POST", url, json=body), stream=True)
        if response.is_success:
            return response
        async with aclosing(response):
            content = await _read_error(response)
    except httpx.RequestError as error:
        raise RetryLater(type(error).__name__) from error
    status, message = response.status_code, server_message(content, max_chars=UNCUT_MESSAGE_CHARS)
    if status in (401, 403):
        raise LlmFailed(f"The language model's server does not let us in (status {status}): check LLM_API_KEY.")
    if is_retryable(status):
        raise RetryLater(f"status {status}. {message}", retry_after_seconds=retry_after_seconds(response.headers))
    raise LlmFailed(f"The language model's server answered {status}: check LLM_BASE_URL and LLM_MODEL. {message}")


async def _read_error(response: httpx.Response) -> bytes:
    content = b""
    async for more in response.aiter_bytes():
        content += more
        if len(content) > _ERROR_BYTES:
            break
    return content
