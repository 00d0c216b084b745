"""The interface of embedders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from domain import Vectors


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
