"""The interface of rerankers, which score a question and a passage together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Reranker(Protocol):
    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """One finite number per text, in their order: higher is a better answer to *query*.

        Blocks; may be called from several threads. Raises RerankerUnavailable.
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...
