"""A document as a line of an export, both ways: from its rows, and to what an import stores."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from domain import RawFile, Span
from errors import Invalid
from models import Chunk, Doc, File, Revision
from services.index.embedding import ModelSpec
from services.ingest.drafts import Draft, NewDoc, OwnChunk
from services.ingest.own_chunks import key_of
from text.enrich import embedded_text
from text.extract.base import Caveat
from text.hashing import clean, is_blank

UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class ExportedNamespace:
    """*seq* is that of the snapshot. *not_searchable* documents wait or have failed, and are not in the export."""

    namespace: str
    seq: int
    embedding_version: str
    model: ModelSpec
    is_external: bool
    documents: int
    chunks: int
    not_searchable: int

    @classmethod
    def parse(cls, content: Any) -> ExportedNamespace:
        """Raises Invalid."""
        try:
            return cls(**{**content, "model": ModelSpec(**content["model"])})
        except (TypeError, KeyError) as error:
            raise Invalid(f"The export describes a namespace in another way than this version: {error}.") from error


@dataclass(frozen=True, slots=True)
class ImportedDoc:
    """*part* is the part with its raw file. *vectors* are those of its chunks, by their keys; perhaps not of all."""

    draft: Draft
    part: str | None
    vectors: Mapping[bytes, bytes]

    @property
    def doc(self) -> NewDoc:
        return self.draft.doc

    def as_new(self, doc: NewDoc) -> ImportedDoc:
        return replace(self, draft=replace(self.draft, doc=doc, doc_hash=doc.content_hash))


def line_of(
    doc: Doc,
    revision: Revision,
    file: Mapping[str, Any] | None,
    chunks: Sequence[Chunk],
    vectors: Mapping[bytes, bytes],
) -> bytes:
    return _encoded(
        {
            "doc_id": doc.doc_id,
            "title": revision.title,
            "source_type": revision.source_type,
            "mime_type": revision.mime_type,
            "metadata": revision.doc_metadata,
            "created_at": doc.created_at.isoformat(),
            "updated_at": doc.updated_at.isoformat(),
            "recipe": revision.recipe,
            "text": revision.text,
            "file": file,
            "chunks": [_described(chunk, vectors.get(chunk.embed_hash)) for chunk in chunks],
        }
    )


def file_of(file: File, revision: Revision, part: str) -> dict[str, Any]:
    options = {name: file.read_options[name] for name in ("declared", *_OPTIONS)}
    described = {"filename": file.filename, "size": file.byte_count, "sha256": revision.doc_hash}
    return {"part": part, **described, **options, "warnings": file.caveats}


def _described(chunk: Chunk, vector: bytes | None) -> dict[str, Any]:
    described = {name: getattr(chunk, name) for name in _CHUNK_MEMBERS}
    encoded = None if vector is None else base64.b64encode(vector).decode()
    return {**described, "metadata": chunk.chunk_metadata, "vector": encoded}


def _encoded(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


_OPTIONS = ("chunk_strategy", "chunk_overlap", "enrich_context")
_SPAN_MEMBERS = ("page_start", "page_end")
_CHUNK_MEMBERS = ("text", "header", "section", *_SPAN_MEMBERS, "char_start", "char_end", "token_count")


@dataclass(frozen=True, slots=True)
class DocumentReader:
    """Makes of lines what is stored in that place. *dimension* is that of the vectors to take over; None: of none."""

    tenant_id: str
    namespace: str
    is_external: bool
    dimension: int | None

    def read(self, line: bytes, *, place: str) -> ImportedDoc:
        """Raises Invalid with the *place* of the line."""
        try:
            return self._read(json.loads(line))
        except Invalid as error:
            raise Invalid(f"{place}: {error}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise Invalid(f"{place} is not a document as an export describes it ({reason}).") from error

    def _read(self, content: Any) -> ImportedDoc:
        vectors = [self._vector(chunk["vector"]) for chunk in content["chunks"]]
        spans = tuple(_span(chunk) for chunk in content["chunks"])
        headers = tuple(_text(chunk["header"]) for chunk in content["chunks"])
        texts = [embedded_text(span.text, header) for span, header in zip(spans, headers, strict=True)]
        externals = vectors if self.is_external else [None] * len(vectors)
        keys = tuple(key_of(text, vector) for text, vector in zip(texts, externals, strict=True))
        doc, part = self._doc(content, externals), None
        if content["file"] is not None:
            doc, part = replace(doc, file=_raw_file(content), **_options(content["file"])), content["file"]["part"]
        warnings = tuple(Caveat(**each) for each in content["file"]["warnings"]) if content["file"] else ()
        draft = Draft(doc, doc.content_hash, _text(content["recipe"]), spans, headers, keys, warnings)
        return ImportedDoc(
            draft, part, {key: each for key, each in zip(keys, vectors, strict=True) if each is not None}
        )

    def _doc(self, content: Any, externals: Sequence[bytes | None]) -> NewDoc:
        chunks = content["chunks"]
        is_own = self.is_external or any(chunk["metadata"] is not None for chunk in chunks)
        if not chunks:
            raise Invalid("It has no chunks.")
        return NewDoc(
            self.tenant_id,
            self.namespace,
            _text(content["doc_id"]),
            _text(content["text"]),
            dict(content["metadata"]),
            title=None if content["title"] is None else _text(content["title"]),
            source_type=_text(content["source_type"]),
            mime_type=_text(content["mime_type"]),
            chunks=tuple(_own(each, vector) for each, vector in zip(chunks, externals, strict=True)) if is_own else (),
            recipe=_text(content["recipe"]),
            created_at=datetime.fromisoformat(content["created_at"]),
        )

    def _vector(self, encoded: str | None) -> bytes | None:
        if self.dimension is None or (encoded is None and not self.is_external):
            return None
        if encoded is None:
            raise Invalid("A chunk comes without its vector, which no model can compute: export with vectors.")
        vector = base64.b64decode(encoded, validate=True)
        values = np.frombuffer(vector, "<f4")
        if len(values) != self.dimension or not abs(float(np.linalg.norm(values)) - 1) < UNIT_TOLERANCE:
            raise Invalid(f"A vector is not one of {self.dimension} numbers and of length 1.")
        return vector


def _own(chunk: Any, vector: bytes | None) -> OwnChunk:
    return OwnChunk(_text(chunk["text"]), chunk["metadata"], vector, chunk["page_start"])


def _span(chunk: Any) -> Span:
    text, section = _text(chunk["text"]), chunk["section"]
    if is_blank(text):
        raise Invalid("A chunk has no text.")
    start, end, tokens = (int(chunk[name]) for name in ("char_start", "char_end", "token_count"))
    pages = {name: None if chunk[name] is None else int(chunk[name]) for name in _SPAN_MEMBERS}
    return Span(start, end, text, tokens, section=() if section is None else (_text(section),), **pages)


def _raw_file(content: Any) -> RawFile:
    """Its blob has no name yet."""
    file = content["file"]
    names = (_text(file["filename"]), _text(file["sha256"]))
    return RawFile("", *names, int(file["size"]), _text(content["mime_type"]), _text(file["declared"]))


def _options(file: Any) -> dict[str, Any]:
    return {name: file[name] for name in _OPTIONS}


def _text(value: Any) -> str:
    if not isinstance(value, str) or clean(value) != value:
        raise Invalid(f"{str(value)[:80]!r} is not a text, or has characters that are not stored.")
    return value


def described(namespace: ExportedNamespace) -> dict[str, Any]:
    return asdict(namespace)
