"""The nouns of the service that are not rows: small, frozen, and free of IO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

CountTokens = Callable[[str], int]
"""How many tokens of the embedding model a text has, without the special ones."""


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One tenant's namespace under one embedding version: the unit that is indexed and swapped."""

    team_id: int
    project_id: int
    embedding_version: str


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
