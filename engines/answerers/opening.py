"""Opens the answerer that a configuration names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from engines.answerers.base import Answerer
from engines.answerers.extractive import ExtractiveAnswerer
from engines.answerers.openai_answerer import OpenAiAnswerer
from engines.embedders.base import Embedder


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswererConfig:
    """Without *base_url* there is no language model, and answers quote the passages."""

    base_url: str = field(default="", repr=False)  # it may hold a password
    model: str = ""
    api_key: str = field(default="", repr=False)
    timeout_seconds: float = 120.0
    retries: int = 2


def open_answerer(config: AnswererConfig, embedder_of: Callable[[str], Embedder]) -> Answerer:
    """Opens no connection. Wrong settings make the first answer raise LlmUnavailable."""
    if not config.base_url:
        return ExtractiveAnswerer(embedder_of)
    return OpenAiAnswerer(
        config.base_url,
        model=config.model,
        api_key=config.api_key,
        timeout_seconds=config.timeout_seconds,
        retries=config.retries,
    )
