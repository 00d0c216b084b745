"""The nouns of the service that are not rows: small, frozen, and free of IO."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Json = dict[str, Any]

Ids = NDArray[np.int64]
"""Numbers of chunks within their project, shape ``(n,)``."""

Vectors = NDArray[np.float32]
"""Unit vectors, shape ``(n, dimension)``."""

Mode = Literal["dense", "keyword", "hybrid"]
"""How to search: by embeddings, by words, or by both."""

CountTokens = Callable[[str], int]
"""How many tokens of the embedding model a text has, without the special ones."""


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One tenant's namespace under one embedding version: the unit that is indexed and swapped."""

    team_id: int
    project_id: int
    embedding_version: str


@dataclass(frozen=True, kw_only=True)
class Built:
    """The result of a rebuild: everything up to *covered_seq*, as *ntotal* vectors of *dimension* numbers."""

    covered_seq: int
    ntotal: int
    dimension: int


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a document, as a chunker cut it. Offsets count code points of the stored text.

    *text* is what is stored and shown: ``document[start:end]``, after *prefix* where a table repeats its
    header. *section* is the path of headings above the stretch. Pages count from 1.
    """

    start: int
    end: int
    text: str
    token_count: int
    section: tuple[str, ...] = ()
    page_start: int | None = None
    page_end: int | None = None


class ChunkContent(NamedTuple):
    """What is indexed of a chunk: its vector under *embed_hash*, the words of *header* and *text*."""

    faiss_id: int
    embed_hash: bytes
    text: str
    header: str


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file as it was received and stored. *blob* is its name in the store, *sha256* in hex; *mime_type* is what its
    first bytes look like, *declared* the content type that its sender gave, "" where none was given.
    """

    blob: str
    filename: str
    sha256: str
    byte_count: int
    mime_type: str
    declared: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that an index found. *score* is cosine similarity: higher is nearer, 1.0 is the same."""

    faiss_id: int
    score: float


class JobStatus(StrEnum):
    """pending -> running -> completed, failed or cancelled; back to pending when a try failed."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Scope(StrEnum):
    """A right of a key: to search and read, to store and delete, to manage its team, to manage all teams."""

    SEARCH = "search"
    INGEST = "ingest"
    ADMIN = "admin"
    OPERATOR = "operator"


def with_included(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """ADMIN includes SEARCH and INGEST, OPERATOR includes ADMIN."""
    included = set(scopes)
    if Scope.OPERATOR in included:
        included.add(Scope.ADMIN)
    if Scope.ADMIN in included:
        included |= {Scope.SEARCH, Scope.INGEST}
    return frozenset(included)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. *tenant_id* is the one tenant that exists for them; None: all do (AUTH_MODE=open).

    *team_id* is that tenant's number in the database, *key_id* names the key that was sent.
    """

    scopes: frozenset[Scope]
    tenant_id: str | None = None
    team_id: int | None = None
    key_id: str | None = None

    def may(self, *any_of: Scope) -> bool:
        return not self.scopes.isdisjoint(any_of)


ANYONE = Principal(frozenset(Scope))
STRANGER = Principal(frozenset(), tenant_id="")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A passage as an answerer is given it. *number* counts from 1 and is what a marker, [1], names."""

    number: int
    title: str | None
    text: str


def chunk_id(doc_id: str, index: int) -> str:
    """The name by which a chunk is shown."""
    return f"{doc_id}#c{index:04d}"
