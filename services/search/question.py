"""What can be asked of a namespace, and what comes back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from domain import Json, Mode, Partition
from text.filters import Filter

Side = Literal["dense", "keyword"]
Fusion = Literal["min_max", "reciprocal_rank"]


@dataclass(frozen=True, slots=True)
class Question:
    """*query* may be empty where *queries* are not. With *by_doc* top_k counts documents, of *group_size* chunks each.

    *vector*, as own_chunks.unit_vector() gives it, is asked for instead of words on the dense side.

    *mmr_lambda* from 0, all diversity, to 1, all relevance. *context* counts the chunks to each side that are joined.
    """

    tenant_id: str
    namespace: str
    query: str
    top_k: int
    embedding_version: str | None = None
    filters: Filter | None = None
    mode: Mode = "dense"
    queries: tuple[str, ...] = ()
    fusion: Fusion = "min_max"
    min_score: float | None = None
    mmr_lambda: float | None = None
    by_doc: bool = False
    group_size: int = 1
    context: int = 0
    rerank: bool = False
    vector: bytes | None = None

    @property
    def place(self) -> tuple[str, str]:
        return self.tenant_id, self.namespace

    @property
    def texts(self) -> list[str]:
        """Every question that is asked at once."""
        return [text for text in (self.query, *self.queries) if text]

    def asked_of(self, side: Side) -> Sequence[str | bytes]:
        """What is looked for on a side."""
        return [self.vector] if side == "dense" and self.vector is not None else self.texts

    @property
    def sides(self) -> tuple[Side, ...]:
        return ("dense", "keyword") if self.mode == "hybrid" else (self.mode,)

    @property
    def most_chunks(self) -> int:
        """In the answer."""
        return self.top_k * self.group_size if self.by_doc else self.top_k

    @property
    def is_fused(self) -> bool:
        """More than one list is found, so that its score is a share of them."""
        return sum(len(self.asked_of(side)) for side in self.sides) > 1

    @property
    def highest_score(self) -> float:
        """What nothing scores more than: BM25 alone has no upper end."""
        return math.inf if self.mode == "keyword" and not self.is_fused else 1.0

    def is_good_enough(self, score: float) -> bool:
        return self.min_score is None or score >= self.min_score

    @property
    def is_arranged(self) -> bool:
        """Not simply the best: more candidates than *top_k* have to be looked at."""
        return self.rerank or self.by_doc or self.mmr_lambda is not None


@dataclass(frozen=True, slots=True)
class FoundBy:
    """One list that had the chunk: of which side, for which of the questions (counted from 0), where (from 1)."""

    side: Side
    query: int
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk as it is shown to whoever asked.

    *score* is, where one list was found, that list's: cosine similarity (dense) or BM25 (keyword). Where lists were
    fused it is their share: 1.0 is the best of every list. Reranking and diversity change the order, not the score.
    *context* is the chunk with its neighbours, where that was asked for.
    """

    doc_id: str
    chunk_id: str
    chunk_index: int
    text: str
    score: float
    metadata: Json
    title: str | None
    section: str | None
    page_start: int | None
    page_end: int | None
    char_start: int
    char_end: int
    token_count: int
    revision: int
    faiss_id: int
    context: str | None = None
    rerank_score: float | None = None
    found_by: tuple[FoundBy, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The passages of one snapshot, best first. *seq* is the snapshot's; *timings* are milliseconds.

    *partition* is None where there is no such namespace. *reranked* is None where that was not asked for, False where
    it was and failed.
    """

    passages: list[Passage]
    seq: int | None = None
    embedding_version: str | None = None
    is_exact: bool = True
    hint: str | None = None
    timings: dict[str, float] = field(default_factory=dict)
    partition: Partition | None = None
    reranked: bool | None = None
