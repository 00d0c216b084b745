"""A document as it was sent (NewDoc) and as it was cut into chunks (Draft)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from domain import Json, RawFile, Span
from errors import Invalid, Unreadable
from text.chunkers.base import CHUNKING
from text.enrich import embedded_text
from text.extract.base import EXTRACTION, Caveat, ExtractedText
from text.hashing import doc_hash, utf8_length

AUTO = "auto"
"""The chunking strategy that fits the type of the file."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one document or batch, each from a setting."""

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
    *base_revision* is the document's newest revision when the two were compared, 0 if there was none.

    One that was sent as a *file* has no text until a worker has extracted it, and may have the strategy AUTO.
    If there are own *chunks*, the text is joined from them. An imported one has the *recipe* and the time of its
    creation in the installation that it comes from. *chunk_tokens* are those of an index version; None: the service's.
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
    base_revision: int = 0
    recipe: str | None = None
    created_at: datetime | None = None
    chunk_tokens: int | None = None

    @property
    def content_hash(self) -> str:
        return self.file.sha256 if self.file else doc_hash(self.text)

    @property
    def byte_count(self) -> int:
        return utf8_length(self.text) + (self.file.byte_count if self.file else 0)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.tenant_id, self.namespace, self.doc_id

    @property
    def display_name(self) -> str:
        """The name that the sender knows: a file's doc_id may be a hash."""
        return self.file.filename if self.file else self.doc_id

    @property
    def dimension(self) -> int | None:
        """The dimension of its external vectors; None if a model computes the vectors."""
        return self.chunks[0].dimension if self.chunks else None

    @property
    def heading(self) -> str | None:
        """The heading of enriched chunks: the title, or the file's name."""
        return heading_of(self.title, self.metadata) if self.enrich_context else None


def heading_of(title: str | None, metadata: Json) -> str | None:
    heading = title or metadata.get("title") or metadata.get("filename")
    return str(heading) if heading else None


@dataclass(frozen=True, slots=True)
class Draft:
    """A document cut into chunks, each with the header that is embedded with it and the key of its vector.

    *warnings* name the chunks that exceed the model's input length.
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
        """The external vectors, by the keys of their chunks."""
        keyed_chunks = zip(self.keys, self.doc.chunks, strict=False)
        return {key: chunk.vector for key, chunk in keyed_chunks if chunk.vector is not None}

    @property
    def texts(self) -> dict[bytes, str]:
        """The texts to embed, by the same keys."""
        if self.doc.dimension is not None:
            return {}
        texts = (embedded_text(span.text, head) for span, head in zip(self.spans, self.headers, strict=True))
        return dict(zip(self.keys, texts, strict=True))


@dataclass(frozen=True, slots=True)
class UpsertResult:
    """The result of an upsert of *accepted* documents. *chunks_reused* had a vector, or were sent with one; the job
    *job_id* does the rest.
    """

    accepted: int = 0
    upserted_docs: int = 0
    skipped_docs: int = 0
    chunks_created: int = 0
    chunks_embedded: int = 0
    chunks_reused: int = 0
    job_id: str | None = None

    def __add__(self, other: UpsertResult) -> UpsertResult:
        return UpsertResult(
            self.accepted + other.accepted,
            self.upserted_docs + other.upserted_docs,
            self.skipped_docs + other.skipped_docs,
            self.chunks_created + other.chunks_created,
            self.chunks_embedded + other.chunks_embedded,
            self.chunks_reused + other.chunks_reused,
            self.job_id or other.job_id,
        )


class TokenCounter(Protocol):
    """The part of an embedder that cutting needs."""

    @property
    def max_tokens(self) -> int: ...

    def count_tokens(self, text: str) -> int: ...


DraftMaker = Callable[[NewDoc, TokenCounter | None], Draft]
"""Cuts a document into chunks for the model; with None their vectors are external. Raises Invalid."""


def draft_of_file(doc: NewDoc, extracted: ExtractedText, model: TokenCounter, make_draft: DraftMaker) -> Draft:
    """Cuts the extracted text of a file. The sender's options take precedence over what fits the file.

    *warnings* are those of the extraction and of the cutting. Raises Unreadable, with a message for the sender.
    """
    read_doc = replace(
        doc,
        file=None,
        text=extracted.text,
        title=doc.title or extracted.title,
        mime_type=extracted.mime_type,
        chunk_strategy=extracted.strategy if doc.chunk_strategy == AUTO else doc.chunk_strategy,
    )
    try:
        cut = make_draft(read_doc, model)
    except Invalid as error:  # of a file that was accepted before: Invalid would fail the whole job
        raise Unreadable(str(error)) from error
    if not cut.spans:
        raise Unreadable("It has no text: there is nothing to search for in it.")
    return replace(cut, warnings=(*extracted.warnings, *cut.warnings))


def recipe_of(doc: NewDoc, chunk_tokens: int) -> str:
    """Returns a hash of how the content is read, cut and headed. Another recipe makes another revision."""
    if doc.recipe is not None:
        return doc.recipe
    chunking: list[object] = [doc.chunk_strategy, doc.chunk_overlap, chunk_tokens, CHUNKING]
    parameters = [*([_digest(doc.chunks)] if doc.chunks else chunking), doc.heading, doc.enrich_context]
    if doc.file is not None:
        parameters += ["file", EXTRACTION]
    return hashlib.sha256(json.dumps(parameters).encode()).hexdigest()[:16]


def _digest(chunks: Sequence[OwnChunk]) -> str:
    """Returns the same hash for the same chunks, and only for them."""
    fields = [
        (chunk.text, chunk.metadata, chunk.page, chunk.vector.hex() if chunk.vector is not None else None)
        for chunk in chunks
    ]
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
