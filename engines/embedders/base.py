"""What every embedder promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from domain import Vectors


class Embedder(Protocol):
    """One way of turning text into vectors. Safe to use from several threads at once."""

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Tokens of a text beyond this number do not reach its vector."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens *text* has, without the special ones."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, one row per text, in order: float32, shape ``(len(texts), dimension)``.

        Raises ModelUnavailable where asking later may help, EmbeddingRefused where it never will.
        """
        ...

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """The same for questions, with the prompt that the model wants before a question."""
        ...
