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

    def broken_share(self, text: str) -> float | None:
        """The share of *text*'s letters that the model's tokenizer breaks (brokenness.py); None if it is unknown."""
        ...

    def fitness(self, text: str) -> float:
        """How well the model's vocabulary fits *text*, from 0 (blind) to 1; 1 if its vocabulary is not known."""
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
