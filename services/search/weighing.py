"""Weighs the dense side of a search by how well the model behind the namespace knows the words of the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engines.embedders.base import Embedder
from engines.embedders.fitness import unrelated_similarity
from services.search.relevance import MEANING_FLOOR, Scale

MIN_WEIGHT = 0.01
"""Of a blind model: its order still counts where no word is found."""


class Models(Protocol):
    """The part of EmbeddingService that weighing needs."""

    def embedder(self, version: str) -> Embedder: ...

    def external_dimension(self, version: str) -> int | None: ...


class Weighing:
    """What unrelated texts score is measured once per version and process."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._unrelated: dict[str, float] = {}

    def scales(self, version: str, queries: Sequence[str | bytes]) -> list[Scale]:
        """The scale of the similarities with each query. A vector that the caller made has full weight."""
        zero = self._unrelated_similarity(version)
        weights = [1.0 if isinstance(query, bytes) else self._weight(version, query) for query in queries]
        return [Scale(zero, weight=weight, floor=MEANING_FLOOR) for weight in weights]

    def _weight(self, version: str, query: str) -> float:
        return max(MIN_WEIGHT, self._models.embedder(version).fitness(query).weight)

    def _unrelated_similarity(self, version: str) -> float:
        if self._models.external_dimension(version) is not None:
            return 0.0
        if version not in self._unrelated:
            self._unrelated[version] = unrelated_similarity(self._models.embedder(version))
        return self._unrelated[version]
