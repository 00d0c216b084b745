"""The interface of embedders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from domain import Vectors

Backend = Literal["auto", "openvino", "torch", "remote"]
Precision = Literal["auto", "bf16", "f32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderConfig:
    """A prompt of None means the model's own; an empty one means no prompt."""

    model_name: str
    backend: Backend = "auto"
    batch_size: int = 8
    precision: Precision = "auto"
    query_prompt: str | None = None
    document_prompt: str | None = None
    cache_dir: Path = Path("~/.cache/ai3-datafactory")
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    timeout_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Fitness:
    """How well a vocabulary fits a text, in shares.

    *readable* are letters and digits in pieces of the vocabulary, 0.95 in any language of a script that it knows and
    0 to 0.3 in others. *whole* are pieces that would suffice if each word were one, 0.9 in the vocabulary's own
    language, 0.6 in one that it has hardly seen.
    """

    readable: float = 1.0
    whole: float = 1.0

    @property
    def weight(self) -> float:
        """What the model's similarities are worth beside the words, from 0 (blind) to 1. docs/decisions/0027."""
        return (self.readable * self.whole) ** 2


class Embedder(Protocol):
    """Turns text into vectors. Safe to use from several threads at once."""

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """The number of tokens after which a text is cut off."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens *text* has, without the special ones."""
        ...

    def fitness(self, text: str) -> Fitness:
        """How well the model's vocabulary fits *text*; perfectly, if nobody knows the vocabulary."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, one row per text, in order: float32, shape ``(len(texts), dimension)``.

        Raises ModelUnavailable if a later attempt may succeed, EmbeddingRefused if none will.
        """
        ...

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """The same for queries, with the model's query prompt."""
        ...


OpenEmbedder = Callable[[EmbedderConfig], Embedder]
"""Blocks while weights are downloaded and, once per machine, exported. Raises ModelUnavailable."""
