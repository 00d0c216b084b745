"""Documents whose texts and vectors the benchmark brings itself, the same for all that are compared.

Texts are passages that people wrote (bench/prose.py), told apart by a number. A few vectors are embedded for real; the
others are normalised mixtures of two of those with a little noise, so that near and far are as uneven as in life, and
a million take a minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from bench import prose
from bench.corpus import scratch
from domain import Vectors, chunk_id

TOP_K = 5
NOISE = 0.15
ALIKE = 1e-6
PASSAGES = 20_000


@dataclass(frozen=True, slots=True)
class OwnDocument:
    doc_id: str
    texts: Sequence[str]
    vectors: Vectors
    metadata: Mapping[str, int] = field(default_factory=dict)

    @property
    def chunk_ids(self) -> list[str]:
        return [chunk_id(self.doc_id, number) for number in range(len(self.texts))]


@dataclass
class OwnSource:
    """An endless source of documents and questions; equal seeds give equal ones."""

    passages: Sequence[str]
    real: Vectors
    rng: np.random.Generator
    count: int = 0

    @classmethod
    def embedded(cls, count: int, *, seed: int = 0) -> OwnSource:
        """Embeds *count* passages for real, with the bundled model."""
        passages = prose.passages(PASSAGES)
        with scratch() as (_, runtime):
            embedder = runtime.index.embedding.embedder(runtime.index.embedding.version)
            real = np.array(embedder.embed_documents(passages[:: PASSAGES // count][:count]), "<f4")
        return cls(passages, real, np.random.default_rng(seed))

    def documents(self, prefix: str, count: int, *, chunks: int) -> Iterator[OwnDocument]:
        for number in range(count):
            yield OwnDocument(f"{prefix}-{number}", [self._text() for _ in range(chunks)], self.vectors(chunks))

    def batches(self, prefix: str, chunks: int, *, per_doc: int, per_batch: int) -> Iterator[list[OwnDocument]]:
        """Documents of *per_doc* chunks until there are *chunks*; all but the last batch have *per_batch* chunks."""
        documents = self.documents(prefix, chunks // per_doc, chunks=per_doc)
        while batch := list(islice(documents, per_batch // per_doc)):
            yield batch

    def vectors(self, count: int) -> Vectors:
        pair, dimension = self.rng.integers(len(self.real), size=(2, count)), self.real.shape[1]
        share = self.rng.random((count, 1), np.float32)
        noise = self.rng.standard_normal((count, dimension), np.float32) * np.float32(NOISE / dimension**0.5)
        mixed = share * self.real[pair[0]] + (1 - share) * self.real[pair[1]] + noise
        unit: Vectors = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype("<f4")
        return unit

    def _text(self) -> str:
        self.count += 1
        return f"{self.passages[self.count % len(self.passages)]} ({self.count})"


@dataclass
class ExactAnswers:
    """All chunks that a store holds, to count what a search should have found."""

    ids: list[str] = field(default_factory=list)
    _parts: list[Vectors] = field(default_factory=list)

    @property
    def vectors(self) -> Vectors:
        self._parts = [np.concatenate(self._parts)]
        return self._parts[0]

    def add(self, documents: Sequence[OwnDocument]) -> None:
        for document in documents:
            self.ids += document.chunk_ids
            self._parts.append(document.vectors)

    def recall(self, queries: Vectors, hits: Sequence[Sequence[str]], *, top_k: int = TOP_K) -> float:
        """Returns the share of hits that are among the nearest *top_k*; equal scores are interchangeable."""
        place = {name: number for number, name in enumerate(self.ids)}
        vectors, count = self.vectors, 0
        for query, names in zip(queries, hits, strict=True):
            scores = vectors @ query
            last = np.partition(scores, -top_k)[-top_k]
            count += sum(scores[place[name]] >= last - ALIKE for name in set(names))
        return float(count / (top_k * len(queries)))
