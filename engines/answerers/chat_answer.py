"""Reads what a chat server answers, whole or as a stream of events, and believes none of it unread. No IO."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from engines.answerers.base import Ended, Usage
from engines.embedders.batches import encodable
from engines.openai_http import said
from errors import LlmFailed

UNCUT_CHARS = 4000
"""What a server says is cut short only when its secrets are out: half a key would not be recognised."""


class Reader(Protocol):
    """Is fed an answer's bytes. Raises LlmFailed for what is no answer."""

    def feed(self, content: bytes) -> Iterable[str]:
        """The text that can be told now. What came before an error comes before it is raised."""
        ...

    def end(self) -> Iterable[str]:
        """The rest of the text, once there are no more bytes."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whatever bytes there may be more."""
        ...

    @property
    def ended(self) -> Ended: ...


def reader_of(content_type: str) -> Reader:
    """By what the server says that it sends: some answer whole although a stream was asked for."""
    return StreamReader() if content_type.startswith("text/event-stream") else WholeReader()


class WholeReader:
    """One JSON object."""

    is_complete = False

    def __init__(self) -> None:
        self._content = bytearray()
        self.ended = Ended()

    def feed(self, content: bytes) -> list[str]:
        self._content += content
        return []

    def end(self) -> list[str]:
        told = _object(bytes(self._content))
        [choice, *_] = _choices(told) or [{}]
        text = _text(choice.get("message"))
        self.ended = Ended(_reason(choice), _usage(told))
        _require_words(self.ended, has_words=bool(text.strip()))
        return [text]


class StreamReader:
    """Server-sent events, each one JSON object on a line that begins with ``data:``, and ``[DONE]`` at the end."""

    def __init__(self) -> None:
        self._line = b""
        self.is_complete = False
        self._has_words = False
        self.ended = Ended()

    def feed(self, content: bytes) -> Iterator[str]:
        *lines, self._line = (self._line + content).split(b"\n")
        for line in lines:
            if piece := self._read(line.strip()):
                self._has_words = self._has_words or not piece.isspace()
                yield piece

    def end(self) -> Iterator[str]:
        yield from self.feed(b"\n")
        if not self.is_complete and self.ended.finish_reason is None:
            raise LlmFailed("The language model's server broke off in the middle of its answer.")
        _require_words(self.ended, has_words=self._has_words)

    def _read(self, line: bytes) -> str:
        data = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or self.is_complete:
            return ""
        if data == b"[DONE]":
            self.is_complete = True
            return ""
        told = _object(data)
        text, reason = "", self.ended.finish_reason
        for choice in _choices(told)[:1]:
            text, reason = _text(choice.get("delta")), _reason(choice) or reason
        self.ended = Ended(reason, _usage(told) or self.ended.usage)
        return text


def _object(content: bytes) -> dict[str, Any]:
    """A server may also tell of an error in the middle of a stream, or with status 200."""
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise LlmFailed("The language model's server answered with something that is not JSON.") from error
    if not isinstance(told, dict):
        raise LlmFailed("The language model's server answered with JSON that is no completion.")
    if told.get("error"):
        raise LlmFailed(f"The language model's server answered with an error: {said(content, shown_chars=UNCUT_CHARS)}")
    return told


def _choices(told: dict[str, Any]) -> list[dict[str, Any]]:
    choices = told.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise LlmFailed("The language model's server answered with JSON that is no completion.")
    return choices


def _text(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    return encodable(content) if isinstance(content, str) else ""


def _reason(choice: dict[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    return encodable(reason)[:40] if isinstance(reason, str) else None


def _usage(told: dict[str, Any]) -> Usage | None:
    usage = told.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (count if isinstance(count, int) and 0 <= count < 2**31 else None for count in counts)
    return None if prompt is None or completion is None else Usage(prompt, completion)


def _require_words(ended: Ended, *, has_words: bool) -> None:
    if not has_words:
        why = " before max_tokens were used up" if ended.finish_reason == "length" else ""
        raise LlmFailed(f"The language model said nothing{why}.")
