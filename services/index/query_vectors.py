"""The vectors of recent queries, so that a text that is asked again is not embedded again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

from domain import Vectors
from metrics import embedding

MOST_QUERIES = 1000
LONGEST_TEXT = 1000

Key = tuple[str, str]


class QueryVectors:
    """By embedding version and exact text, least recently used out first; longer texts are not kept. Thread-safe."""

    def __init__(self) -> None:
        self._vectors: OrderedDict[Key, Vectors] = OrderedDict()
        self._lock = Lock()

    def of(self, version: str, texts: Sequence[str], embed: Callable[[Sequence[str]], Vectors]) -> Vectors:
        """A vector per text. *embed* is the version's model, which the caller has confirmed; it gets each text once."""
        keys = [(version, text) for text in texts]
        known = self._find(keys)
        missing = [key for key in dict.fromkeys(keys) if key not in known]
        if missing:
            with embedding("queries"):
                vectors = embed([text for _, text in missing])
            embedded = dict(zip(missing, vectors, strict=True))
            self._keep(embedded)
            known |= embedded
        return np.stack([known[key] for key in keys])

    def _find(self, keys: Sequence[Key]) -> dict[Key, Vectors]:
        with self._lock:
            known = {key: self._vectors[key] for key in keys if key in self._vectors}
            for key in known:
                self._vectors.move_to_end(key)
        return known

    def _keep(self, embedded: dict[Key, Vectors]) -> None:
        short = {key: vector.copy() for key, vector in embedded.items() if len(key[1]) <= LONGEST_TEXT}
        with self._lock:
            self._vectors |= short
            while len(self._vectors) > MOST_QUERIES:
                self._vectors.popitem(last=False)
