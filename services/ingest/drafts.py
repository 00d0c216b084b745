"""A document as it was sent, and as it was cut."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from domain import Json, RawFile, Span
from engines.embedders.base import Embedder
from text.enrich import embedded_text
from text.extract.base import EXTRACTION, Caveat
from text.hashing import doc_hash

AUTO = "auto"
"""The way of chunking that fits what a file turns out to be."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may be, each a setting."""

    text_chars: int
    metadata_bytes: int
    batch_docs: int
    name_chars: int
    doc_id_chars: int
    chunks: int


@dataclass(frozen=True, slots=True)
class OwnChunk:
    """*vector* is of unit length, as it is stored: little-endian float32."""

    text: str
    metadata: Json | None = None
    vector: bytes | None = None
    page: int | None = None

    @property
    def dimension(self) -> int | None:
        return len(self.vector) // 4 if self.vector is not None else None


@dataclass(frozen=True, slots=True)
class NewDoc:
    """A document as it was sent. *expected_hash* and *must_be_new* are the preconditions of the request;
    *seen_revision* is the newest revision of it when it was compared with what is there, 0 if there was none.

    One that came as a *file* has no text yet: a worker reads it. It may ask for AUTO.
    *chunks*, where there are some, are the document; its text is theirs.
    """

    tenant_id: str
    namespace: str
    doc_id: str
    text: str
    metadata: Json
    title: str | None = None
    source_type: str = "manual"
    mime_type: str = "text/plain"
    chunk_strategy: str = "default"
    chunk_overlap: int = 0
    enrich_context: bool = False
    chunks: tuple[OwnChunk, ...] = ()
    expected_hash: str | None = None
    must_be_new: bool = False
    file: RawFile | None = None
    seen_revision: int = 0

    @property
    def content_hash(self) -> str:
        return self.file.sha256 if self.file else doc_hash(self.text)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.tenant_id, self.namespace, self.doc_id

    @property
    def called(self) -> str:
        """As its sender knows it: a file's doc_id may be a hash."""
        return self.file.filename if self.file else self.doc_id

    @property
    def dimension(self) -> int | None:
        """Of the vectors that came with it; None: a model makes them."""
        return self.chunks[0].dimension if self.chunks else None

    @property
    def heading(self) -> str | None:
        """What an enriched chunk is headed with: the title, or the file's name."""
        named = self.title or self.metadata.get("title") or self.metadata.get("filename")
        return str(named) if named and self.enrich_context else None


@dataclass(frozen=True, slots=True)
class Draft:
    """A document that was cut: its chunks, with the context that is embedded with each and the key of its vector.

    *warnings* say of which chunks the model does not read all.
    """

    doc: NewDoc
    doc_hash: str
    recipe: str
    spans: tuple[Span, ...]
    headers: tuple[str, ...]
    keys: tuple[bytes, ...]
    warnings: tuple[Caveat, ...] = ()

    @property
    def vectors(self) -> dict[bytes, bytes]:
        """What came with the document, by the keys of its chunks."""
        told = zip(self.keys, self.doc.chunks, strict=False)
        return {key: chunk.vector for key, chunk in told if chunk.vector is not None}

    @property
    def texts(self) -> dict[bytes, str]:
        """What has to be embedded, by the same keys."""
        if self.doc.dimension is not None:
            return {}
        texts = (embedded_text(span.text, head) for span, head in zip(self.spans, self.headers, strict=True))
        return dict(zip(self.keys, texts, strict=True))


@dataclass(frozen=True, slots=True)
class Upserted:
    """What became of *accepted* documents. *chunks_reused* had a vector, or came with one; *job_id* does the rest."""

    accepted: int = 0
    upserted_docs: int = 0
    skipped_docs: int = 0
    chunks_created: int = 0
    chunks_embedded: int = 0
    chunks_reused: int = 0
    job_id: str | None = None

    def __add__(self, other: Upserted) -> Upserted:
        return Upserted(
            self.accepted + other.accepted,
            self.upserted_docs + other.upserted_docs,
            self.skipped_docs + other.skipped_docs,
            self.chunks_created + other.chunks_created,
            self.chunks_embedded + other.chunks_embedded,
            self.chunks_reused + other.chunks_reused,
            self.job_id or other.job_id,
        )


DraftMaker = Callable[[NewDoc, Embedder | None], Draft]
"""Cuts a document. The embedder will embed its chunks; None: their vectors came with them. Raises Invalid."""


def recipe_of(doc: NewDoc, chunk_tokens: int) -> str:
    """How the content is read, cut and headed. The same content by another recipe is another revision."""
    cut: list[object] = [doc.chunk_strategy, doc.chunk_overlap, chunk_tokens]
    told = [*([_digest(doc.chunks)] if doc.chunks else cut), doc.heading, doc.enrich_context]
    if doc.file is not None:
        told += ["file", EXTRACTION]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _digest(chunks: Sequence[OwnChunk]) -> str:
    """The same for the same chunks, and only for them."""
    told = [
        (chunk.text, chunk.metadata, chunk.page, chunk.vector.hex() if chunk.vector is not None else None)
        for chunk in chunks
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
