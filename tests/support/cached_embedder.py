"""A model that computes every vector once: hundreds of tests use the same few texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from domain import Vectors
from engines.embedders.base import Embedder, Fitness


class CachedEmbedder:
    """The vectors are those of *embedder*."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.dimension, self.max_tokens = embedder.dimension, embedder.max_tokens
        self.embed_documents = partial(_cached, embedder.embed_documents, {})
        self.embed_queries = partial(_cached, embedder.embed_queries, {})

    def count_tokens(self, text: str) -> int:
        return self.embedder.count_tokens(text)

    def fitness(self, text: str) -> Fitness:
        return self.embedder.fitness(text)


def _cached(embed: Callable[[Sequence[str]], Vectors], cache: dict[str, Vectors], texts: Sequence[str]) -> Vectors:
    if missing := [text for text in dict.fromkeys(texts) if text not in cache]:
        cache.update(zip(missing, embed(missing), strict=True))
    return np.array([cache[text] for text in texts]) if texts else embed(texts)
