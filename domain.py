"""The domain's values that are not rows: small, frozen, and free of IO."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""Read when numpy loads. More threads would wait by spinning, and a sum's last digit would depend on their number."""

Json = dict[str, Any]

Ids: TypeAlias = "NDArray[np.int64]"
"""Chunk ids within their project (faiss_id), shape ``(n,)``."""

Vectors: TypeAlias = "NDArray[np.float32]"
"""Unit vectors, shape ``(n, dimension)``."""

Mode = Literal["dense", "keyword", "hybrid"]
"""Search by embeddings, by keywords, or by both."""

CountTokens = Callable[[str], int]
"""Counts the tokens of a text as the embedding model sees them, without special tokens."""


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One tenant's namespace under one embedding version: the unit that is indexed and swapped."""

    team_id: int
    project_id: int
    embedding_version: str


MIRROR_MARK = "\x1f"
"""The first character of a mirror's name, which no request may have in one."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A hidden namespace that has another's live documents, cut as *chunking* says and embedded under *version*.

    *is_complete*: it has all of them with their vectors, and every publication reaches it.
    """

    id: int
    version: str
    chunking: Json
    is_complete: bool = False


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """The result of a rebuild: an index of *ntotal* vectors that covers the partition up to *covered_seq*."""

    covered_seq: int
    ntotal: int
    dimension: int


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a document, as a chunker cut it. Offsets count code points of the stored text.

    *text* is stored and returned: ``document[start:end]``, prefixed with the header where a table repeats it. *section*
    is the path of headings above the part. Pages count from 1.
    """

    start: int
    end: int
    text: str
    token_count: int
    section: tuple[str, ...] = ()
    page_start: int | None = None
    page_end: int | None = None


class ChunkContent(NamedTuple):
    """The indexed content of a chunk: its vector, stored under *embed_hash*, and the words of *header* and *text*."""

    faiss_id: int
    embed_hash: bytes
    text: str
    header: str


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file as received and stored. *blob* is its name in the blob store, *sha256* is in hex. *mime_type* is detected
    from its first bytes; *declared* is the content type that the sender declared, or "".
    """

    blob: str
    filename: str
    sha256: str
    byte_count: int
    mime_type: str
    declared: str = ""


Hit: TypeAlias = tuple[int, float]
"""A chunk in a result of an index: its id and its score. Higher is better; of cosine similarity, 1.0 is identical.

No class of its own, because a search makes hundreds.
"""


class JobStatus(StrEnum):
    """pending -> running -> completed, failed or cancelled; back to pending when a try failed."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ListedStatus(StrEnum):
    """What jobs can be listed by. *completed* includes those with errors."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    FAILED = "failed"
    CANCELLED = "cancelled"


def outcome_of(status: JobStatus, *, has_errors: bool) -> ListedStatus:
    """How a job ended, of which some documents failed if it *has_errors*."""
    is_partial = status == JobStatus.COMPLETED and has_errors
    return ListedStatus.COMPLETED_WITH_ERRORS if is_partial else ListedStatus(status)


class EventType(StrEnum):
    """What events tell of. A document's are about what searches find of it."""

    DOCUMENT_INDEXED = "document.indexed"
    DOCUMENT_FAILED = "document.failed"
    DOCUMENT_DELETED = "document.deleted"
    JOB_FINISHED = "job.finished"
    VERSION_ACTIVATED = "version.activated"
    VERSION_ROLLED_BACK = "version.rolled_back"
    ERASURE_FINISHED = "erasure.finished"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_TEST = "webhook.test"


class DeliveryStatus(StrEnum):
    """pending -> delivered | failed. dropped: its event was erased, or is not kept any more."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    DROPPED = "dropped"


class Scope(StrEnum):
    """A right of an API key: search and read, write and delete, administer the team, operate all teams."""

    SEARCH = "search"
    INGEST = "ingest"
    ADMIN = "admin"
    OPERATOR = "operator"


def with_included(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """The scopes with those that they imply: operator implies admin, admin implies search and ingest."""
    granted = set(scopes)
    if Scope.OPERATOR in granted:
        granted.add(Scope.ADMIN)
    if Scope.ADMIN in granted:
        granted |= {Scope.SEARCH, Scope.INGEST}
    return frozenset(granted)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. *tenant_id* is the only tenant that exists for them; None: all tenants (AUTH_MODE=open).

    *team_id* is the tenant's number in the database, *key_id* identifies the API key. *is_derived*: the caller has a
    key that was derived from that one.
    """

    scopes: frozenset[Scope]
    tenant_id: str | None = None
    team_id: int | None = None
    key_id: str | None = None
    is_derived: bool = False

    def may(self, *any_of: Scope) -> bool:
        return not self.scopes.isdisjoint(any_of)


ANYONE = Principal(frozenset(Scope))
STRANGER = Principal(frozenset(), tenant_id="")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A passage as input for an answerer. *number* counts from 1; the marker [1] refers to it."""

    number: int
    title: str | None
    text: str


def chunk_id(doc_id: str, index: int) -> str:
    """The name by which a chunk is shown."""
    return f"{doc_id}#c{index:04d}"


@dataclass(frozen=True, slots=True)
class Amounts:
    """*bytes* are those of texts in UTF-8 and of raw files. As a quota, 0 stands for none."""

    documents: int = 0
    chunks: int = 0
    bytes: int = 0
    embedded_chunks_per_day: int = 0

    @property
    def values(self) -> tuple[int, ...]:
        return self.documents, self.chunks, self.bytes, self.embedded_chunks_per_day

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(*(mine + others for mine, others in zip(self.values, other.values, strict=True)))

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(*(mine - others for mine, others in zip(self.values, other.values, strict=True)))


QUOTA_NAMES = tuple(each.name for each in fields(Amounts))
