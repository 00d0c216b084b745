"""The interface of answerers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from domain import Excerpt


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A question and at least one passage to answer it from.

    *embedding_version* is that of the search. Options that are None are left to the model's server.
    """

    question: str
    excerpts: Sequence[Excerpt]
    embedding_version: str
    system_prompt: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    is_streamed: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the model's server counts them."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an answer. *finish_reason* is ``length`` if it was cut off at max_tokens."""

    finish_reason: str | None = None
    usage: Usage | None = None


class Answerer(Protocol):
    """Answers a question from passages. Safe to use from several tasks at once."""

    @property
    def model(self) -> str: ...

    def answer(self, prompt: Prompt) -> AsyncGenerator[str | Ending, None]:
        """The pieces of the answer as they come, with markers such as [1], and Ended as the last.

        Closing the generator cancels the work. Raises LlmUnavailable, LlmFailed or LlmTooSlow, possibly mid-answer.
        """
        ...
