"""A search request and its answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from domain import Json, Mode, Partition
from text.filters import Filter
from text.restriction import Restriction

Side = Literal["dense", "keyword"]
Fusion = Literal["weighted", "min_max", "reciprocal_rank"]


class SearchTarget(NamedTuple):
    """What a question searches: a namespace, and which of its versions. Without either name: the one that serves."""

    tenant_id: str
    namespace: str
    embedding_version: str | None = None
    index_version: str | None = None

    @property
    def place(self) -> tuple[str, str]:
        return self[:2]


@dataclass(frozen=True, slots=True)
class Question:
    """*query* is None if *vector* or *queries* stand alone. With *by_doc*, top_k counts documents, each with
    *group_size* chunks.

    *vector*, from own_chunks.unit_vector(), replaces the embedded texts on the dense side. *mmr_lambda* runs from 0
    (all diversity) to 1 (all relevance). *context* is the number of chunks joined on each side of a passage.
    *is_judged* requests the relevance of each passage, and the floor that it is compared with. Chunks that the
    *restriction* of the caller does not show are not there for it.
    """

    tenant_id: str
    namespace: str
    query: str | None
    top_k: int
    embedding_version: str | None = None
    index_version: str | None = None
    filters: Filter | None = None
    mode: Mode = "dense"
    queries: tuple[str, ...] = ()
    fusion: Fusion = "weighted"
    min_score: float | None = None
    mmr_lambda: float | None = None
    by_doc: bool = False
    group_size: int = 1
    context: int = 0
    rerank: bool = False
    vector: bytes | None = None
    is_judged: bool = False
    restriction: Restriction | None = None

    @property
    def place(self) -> tuple[str, str]:
        return self.tenant_id, self.namespace

    @property
    def target(self) -> SearchTarget:
        return SearchTarget(self.tenant_id, self.namespace, self.embedding_version, self.index_version)

    @property
    def condition(self) -> Filter | None:
        """What a chunk has to match: *filters*, and what the restriction shows."""
        return self.filters if self.restriction is None else self.restriction.narrowed(self.filters)

    @property
    def visibility(self) -> Filter | None:
        """What the caller may see of the namespace, whatever *filters* match; None: all."""
        return None if self.restriction is None else self.restriction.filters

    @property
    def is_within_restriction(self) -> bool:
        return self.restriction is None or self.restriction.includes(self.namespace)

    @property
    def is_of_serving_version(self) -> bool:
        return self.embedding_version is None and self.index_version is None

    @property
    def texts(self) -> list[str]:
        """The query and the further queries, without empty ones."""
        return [text for text in (self.query, *self.queries) if text]

    def inputs_for(self, side: Side) -> Sequence[str | bytes]:
        """The queries of one side: texts, or the external vector."""
        return [self.vector] if side == "dense" and self.vector is not None else self.texts

    @property
    def sides(self) -> tuple[Side, ...]:
        return ("dense", "keyword") if self.mode == "hybrid" else (self.mode,)

    @property
    def needs_words(self) -> bool:
        """Whether its words are looked up, to rank or to judge."""
        return self.is_judged or "keyword" in self.sides

    @property
    def max_chunks(self) -> int:
        """Upper limit of chunks in the answer."""
        return self.top_k * self.group_size if self.by_doc else self.top_k

    @property
    def is_fused(self) -> bool:
        """Whether more than one ranked list is fused."""
        return sum(len(self.inputs_for(side)) for side in self.sides) > 1

    @property
    def highest_score(self) -> float:
        """The upper bound of scores; BM25 alone has none."""
        return math.inf if self.mode == "keyword" and not self.is_fused else 1.0

    def is_good_enough(self, score: float) -> bool:
        return self.min_score is None or score >= self.min_score

    @property
    def is_arranged(self) -> bool:
        """Whether more candidates than *top_k* are needed, because the best scores alone do not decide."""
        return self.rerank or self.by_doc or self.mmr_lambda is not None


@dataclass(frozen=True, slots=True)
class FoundBy:
    """A ranked list that contains the chunk: its side, its query (counted from 0), and the rank there (from 1)."""

    side: Side
    query: int
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """*similarity* is the highest cosine similarity with a query; None if no dense list knows it.

    *relevance* is what the floor is compared with; None if the question has none.
    """

    faiss_id: int
    score: float
    found_by: tuple[FoundBy, ...]
    similarity: float | None = None
    relevance: float | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk as an answer presents it.

    *score* is the cosine similarity (dense) or BM25 (keyword) of a single list, or the fused score of several, at most
    1.0. *similarity* is the highest cosine similarity with a query; None in mode keyword. Reranking and MMR change the
    order, not the score. *context* is the chunk joined with its neighbours, if requested. *relevance* is set if the
    question is judged. *rank* counts from 1 among the passages; a marker, [1], refers to it.
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
    rank: int = 0
    similarity: float | None = None
    relevance: float | None = None


@dataclass(frozen=True, slots=True)
class Hint:
    """Why a search found nothing or little. docs/search.md lists the codes."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The passages of one snapshot, best first. *seq* is the snapshot's; *timings* are milliseconds.

    Passages with a relevance below *floor* have nothing to do with the question; None if it is not judged.

    *partition* is None if the namespace does not exist. *shadow* is the namespace's, if the version that serves
    answered. *reranked* is None if reranking was not requested, False if
    it failed.
    """

    passages: list[Passage]
    seq: int | None = None
    embedding_version: str | None = None
    is_exact: bool = True
    hints: tuple[Hint, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    partition: Partition | None = None
    reranked: bool | None = None
    floor: float | None = None
    shadow: Json | None = None

    @property
    def hint(self) -> str | None:
        """Why there are no passages, if that is known."""
        return self.hints[0].message if self.hints and not self.passages else None

    @property
    def relevant(self) -> list[Passage]:
        """The passages that reach the floor; all of them without one."""
        if self.floor is None:
            return self.passages
        return [each for each in self.passages if each.relevance is not None and each.relevance >= self.floor]
