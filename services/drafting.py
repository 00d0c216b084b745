"""From a document as it was sent to what is stored of it: checked, compared, cut into chunks. Writes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.orm.attributes import flag_modified

from domain import CountTokens, RawFile, Span
from engines.embedders.base import Embedder
from errors import Invalid, TooLarge
from models import Doc, File, Json, Project, Revision, RevisionStatus
from services.own_chunks import OwnChunk, cleaned, digest, joined, key_of, spans_of
from text.chunkers import STRATEGIES, chunk
from text.enrich import embedded_text, header
from text.extract import EXTRACTION
from text.hashing import UNSTORABLE, clean, doc_hash
from text.nesting import depth

DEEPEST_METADATA = 32
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


@dataclass(frozen=True, slots=True)
class NewDoc:
    """A document as it was sent. *expected_hash* and *must_be_new* are the preconditions of the request.

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
    """A document that was cut: its chunks, with the context that is embedded with each and the key of its vector."""

    doc: NewDoc
    doc_hash: str
    recipe: str
    spans: tuple[Span, ...]
    headers: tuple[str, ...]
    keys: tuple[bytes, ...]

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


def checked(doc: NewDoc, limits: Limits) -> NewDoc:
    """The document as it will be stored. Raises Invalid or TooLarge, naming the field."""
    for field in ("tenant_id", "namespace"):
        check_name(field, getattr(doc, field), limits.name_chars)
    check_name("doc_id", doc.doc_id, limits.doc_id_chars)
    _check_metadata(doc.doc_id, doc.metadata, limits, param="metadata")
    if doc.file is not None:
        if doc.chunk_strategy not in (AUTO, *STRATEGIES):
            told = f"There is no strategy {doc.chunk_strategy!r}; there are {AUTO}, {', '.join(STRATEGIES)}."
            raise Invalid(told, param="chunk_strategy")
        return doc
    return _with_checked_text(doc, limits)


def _with_checked_text(doc: NewDoc, limits: Limits) -> NewDoc:
    if doc.chunks:
        doc = _with_checked_chunks(doc, limits)
    if len(doc.text) > limits.text_chars:
        raise TooLarge(
            f"The text of {doc.doc_id!r} has {len(doc.text)} characters; at most {limits.text_chars} are "
            "accepted (MAX_TEXT_CHARS). Split it into several documents.",
            param="text",
        )
    text = clean(doc.text)
    if not text.strip():
        raise Invalid(f"The text of {doc.doc_id!r} is empty: there is nothing to search for in it.", param="text")
    return doc if text == doc.text else replace(doc, text=text)


def _with_checked_chunks(doc: NewDoc, limits: Limits) -> NewDoc:
    """The chunks as they will be stored, and the text that they make up."""
    if doc.chunk_strategy != "default" or doc.chunk_overlap:
        raise Invalid("Own chunks are not cut: leave chunk_strategy and chunk_overlap out.", param="chunk_strategy")
    chunks = cleaned(doc.chunks, doc.doc_id)
    for number, own in enumerate(chunks):
        whose = f"{doc.doc_id}, chunk {number}"
        _check_metadata(whose, own.metadata or {}, limits, param=f"chunks.{number}.metadata")
    return replace(doc, chunks=chunks, text=joined(chunks))


def _check_metadata(whose: str, metadata: Json, limits: Limits, *, param: str) -> None:
    try:
        size = len(json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode())
    except (RecursionError, ValueError) as error:
        raise Invalid(f"The metadata of {whose!r} cannot be kept as JSON: {error}.", param=param) from error
    if size > limits.metadata_bytes:
        raise TooLarge(
            f"The metadata of {whose!r} takes {size} bytes as JSON; at most {limits.metadata_bytes} are "
            "accepted (MAX_METADATA_BYTES).",
            param=param,
        )
    if depth(metadata) > DEEPEST_METADATA:
        raise Invalid(f"The metadata of {whose!r} is nested deeper than {DEEPEST_METADATA}.", param=param)


def check_name(field: str, value: str, longest: int) -> None:
    if not value.strip():
        raise Invalid(f"{field} is empty.", param=field)
    if len(value) > longest:
        raise Invalid(f"{field} has {len(value)} characters; at most {longest} are accepted.", param=field)
    if UNSTORABLE.search(value):
        raise Invalid(f"{field} has a NUL character or half of a surrogate pair in it.", param=field)


def recipe_of(doc: NewDoc, chunk_tokens: int) -> str:
    """How the content is read, cut and headed. The same content by another recipe is another revision."""
    cut: list[object] = [doc.chunk_strategy, doc.chunk_overlap, chunk_tokens]
    told = [*([digest(doc.chunks)] if doc.chunks else cut), doc.heading, doc.enrich_context]
    if doc.file is not None:
        told += ["file", EXTRACTION]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def draft(doc: NewDoc, *, chunk_tokens: int, model: Embedder | None) -> Draft:
    """The document, cut; a file is not cut before a worker has read it.

    *model* will embed the chunks; None: their vectors came with them, and their tokens are not counted. Raises
    Invalid for an own chunk of which the model would not read all.
    """
    recipe = recipe_of(doc, chunk_tokens)
    if doc.file is not None:
        return Draft(doc, doc.content_hash, recipe, (), (), ())
    count_tokens = model.count_tokens if model is not None else _no_tokens
    spans = _spans(doc, chunk_tokens, count_tokens)
    is_headed = doc.enrich_context and model is not None
    headers = [header(doc.heading, span.section, count_tokens=count_tokens) if is_headed else "" for span in spans]
    texts = [embedded_text(span.text, head) for span, head in zip(spans, headers, strict=True)]
    if model is not None and doc.chunks:
        _check_tokens(doc, [count_tokens(text) for text in texts], model.max_tokens)
    vectors = [own.vector for own in doc.chunks] or [None] * len(texts)
    keys = tuple(key_of(text, vector) for text, vector in zip(texts, vectors, strict=True))
    return Draft(doc, doc.content_hash, recipe, tuple(spans), tuple(headers), keys)


def _no_tokens(text: str) -> int:  # noqa: ARG001
    return 0


def _spans(doc: NewDoc, chunk_tokens: int, count_tokens: CountTokens) -> list[Span]:
    if doc.chunks:
        return spans_of(doc.chunks, count_tokens=count_tokens)
    return chunk(
        doc.text,
        doc.chunk_strategy,
        max_tokens=chunk_tokens,
        overlap_chars=doc.chunk_overlap,
        count_tokens=count_tokens,
    )


def _check_tokens(doc: NewDoc, counts: Sequence[int], most: int) -> None:
    for number, count in enumerate(counts):
        if count > most:
            raise Invalid(
                f"Chunk {number} of {doc.doc_id!r} has {count} tokens, and the model reads {most}: cut it.",
                param=f"chunks.{number}.text",
            )


def says_the_same(revision: Revision, doc: NewDoc, recipe: str) -> bool:
    """Would accepting the document change which chunks there are?"""
    return revision.recipe == recipe and revision.doc_hash == doc.content_hash


def describes_the_same(revision: Revision, doc: NewDoc) -> bool:
    """Is everything about the document that is not its text the same too?"""
    told = (_as_json(revision.doc_metadata), revision.title, revision.source_type, revision.mime_type)
    return told == (_as_json(doc.metadata), *_description(revision, doc))


def describe(revision: Revision, doc: NewDoc) -> None:
    """Say of the revision what *doc* says about itself."""
    revision.doc_metadata = doc.metadata
    flag_modified(revision, "doc_metadata")  # to Python 1 and True are the same
    revision.title, revision.source_type, revision.mime_type = _description(revision, doc)


def _description(revision: Revision, doc: NewDoc) -> tuple[str | None, str, str]:
    """What a file says of itself counts until somebody says otherwise; its type is what it was found to be."""
    if doc.file is not None:
        return doc.title or revision.title, doc.source_type, revision.mime_type
    return doc.title, doc.source_type, doc.mime_type


def _as_json(value: Json) -> str:
    """To Python 1, 1.0 and True are the same; to whoever sent them they are not."""
    return json.dumps(value, sort_keys=True)


def revision_row(draft: Draft, project: Project, row: Doc, *, first_id: int, job_id: str | None) -> Revision:
    doc = draft.doc
    return Revision(
        team_id=project.team_id,
        project_id=project.id,
        doc_id=doc.doc_id,
        revision=row.revision,
        status=RevisionStatus.PENDING,
        job_id=job_id,
        doc_hash=draft.doc_hash,
        recipe=draft.recipe,
        title=doc.title,
        source_type=doc.source_type,
        mime_type=doc.mime_type,
        blob_uri=doc.file.blob if doc.file else None,
        doc_metadata=doc.metadata,
        chunk_count=len(draft.spans),
        first_id=first_id,
        text=doc.text,
    )


def file_row(doc: NewDoc, file: RawFile, revision: Revision) -> File:
    """The file of the revision, with what its reader has to know."""
    return File(
        team_id=revision.team_id,
        project_id=revision.project_id,
        doc_id=revision.doc_id,
        revision=revision.revision,
        filename=file.filename,
        byte_count=file.byte_count,
        asked={
            "declared": file.declared,
            "chunk_strategy": doc.chunk_strategy,
            "chunk_overlap": doc.chunk_overlap,
            "enrich_context": doc.enrich_context,
        },
    )


def chunk_rows(draft: Draft, revision: Revision, *, first_id: int, live_seq: int | None) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    metadata = [own.metadata for own in draft.doc.chunks] or [None] * len(draft.spans)
    for index, (span, head, key) in enumerate(zip(draft.spans, draft.headers, draft.keys, strict=True)):
        rows.append(
            {
                "team_id": revision.team_id,
                "project_id": revision.project_id,
                "faiss_id": first_id + index,
                "doc_id": revision.doc_id,
                "revision": revision.revision,
                "chunk_index": index,
                "text": span.text,
                "header": head,
                "section": " > ".join(span.section) or None,
                "chunk_hash": hashlib.sha256(span.text.encode()).hexdigest(),
                "embed_hash": key,
                "chunk_metadata": metadata[index],
                "page_start": span.page_start,
                "page_end": span.page_end,
                "char_start": span.start,
                "char_end": span.end,
                "token_count": span.token_count,
                "live_seq": live_seq,
            }
        )
    return rows
