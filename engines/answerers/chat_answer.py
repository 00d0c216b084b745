"""Parses and validates the answers of a chat server, whole or as a stream of events. No IO."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from engines.answerers.base import Ending, Usage
from engines.embedders.batches import encodable
from engines.openai_http import server_message
from errors import LlmFailed

UNCUT_MESSAGE_CHARS = 4000
"""Messages of a server are shortened only after secrets are removed: half a key would not be recognised."""


class AnswerParser(Protocol):
    """Takes the bytes of an answer. Raises LlmFailed for invalid ones."""

    def feed(self, content: bytes) -> Iterable[str]:
        """The text that is complete so far. Text before an error is yielded before the error is raised."""
        ...

    def end(self) -> Iterable[str]:
        """The rest of the text, once there are no more bytes."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether the answer has ended, even if more bytes follow."""
        ...

    @property
    def ending(self) -> Ending: ...


def parser_for(content_type: str) -> AnswerParser:
    """Chosen by content type, since some servers answer whole although a stream was requested."""
    return StreamParser() if content_type.startswith("text/event-stream") else WholeAnswerParser()


class WholeAnswerParser:
    """One JSON object."""

    is_complete = False

    def __init__(self) -> None:
        self._content = bytearray()
        self.ending = Ending()

    def feed(self, content: bytes) -> list[str]:
        self._content += content
        return []

    def end(self) -> list[str]:
        payload = _payload(bytes(self._content))
        [choice, *_] = _choices(payload) or [{}]
        text = _text(choice.get("message"))
        self.ending = Ending(_reason(choice), _usage(payload))
        _require_text(self.ending, has_text=bool(text.strip()))
        return [text]


class StreamParser:
    """Server-sent events, each one JSON object on a line that begins with ``data:``, and ``[DONE]`` at the end."""

    def __init__(self) -> None:
        self._line = b""
        self.is_complete = False
        self._has_text = False
        self.ending = Ending()

    def feed(self, content: bytes) -> Iterator[str]:
        *lines, self._line = (self._line + content).split(b"\n")
        for line in lines:
            if piece := self._read(line.strip()):
                self._has_text = self._has_text or not piece.isspace()
                yield piece

    def end(self) -> Iterator[str]:
        yield from self.feed(b"\n")
        if not self.is_complete and self.ending.finish_reason is None:
            raise LlmFailed("The language model's server broke off in the middle of its answer.")
        _require_text(self.ending, has_text=self._has_text)

    def _read(self, line: bytes) -> str:
        data = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or self.is_complete:
            return ""
        if data == b"[DONE]":
            self.is_complete = True
            return ""
        payload = _payload(data)
        text, reason = "", self.ending.finish_reason
        for choice in _choices(payload)[:1]:
            text, reason = _text(choice.get("delta")), _reason(choice) or reason
        self.ending = Ending(reason, _usage(payload) or self.ending.usage)
        return text


def _payload(content: bytes) -> dict[str, Any]:
    """The JSON object. Servers may also report an error in the middle of a stream, or with status 200."""
    try:
        payload = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise LlmFailed("The language model's server answered with something that is not JSON.") from error
    if not isinstance(payload, dict):
        raise LlmFailed("The language model's server answered with JSON that is not a completion.")
    if payload.get("error"):
        message = server_message(content, max_chars=UNCUT_MESSAGE_CHARS)
        raise LlmFailed(f"The language model's server answered with an error: {message}")
    return payload


def _choices(payload: dict[str, Any]) -> list[dict[str, Any]]:
    choices = payload.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise LlmFailed("The language model's server answered with JSON that is not a completion.")
    return choices


def _text(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    return encodable(content) if isinstance(content, str) else ""


def _reason(choice: dict[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    return encodable(reason)[:40] if isinstance(reason, str) else None


def _usage(payload: dict[str, Any]) -> Usage | None:
    usage = payload.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (count if isinstance(count, int) and 0 <= count < 2**31 else None for count in counts)
    return None if prompt is None or completion is None else Usage(prompt, completion)


def _require_text(ending: Ending, *, has_text: bool) -> None:
    if not has_text:
        reason = " before max_tokens were used up" if ending.finish_reason == "length" else ""
        raise LlmFailed(f"The language model said nothing{reason}.")
