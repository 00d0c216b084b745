"""Validates documents and names before they are stored. Every error names the field."""

from __future__ import annotations

import json
from dataclasses import replace

from domain import Json
from errors import Invalid, TooLarge
from services.index.names import check_line, check_new_name
from services.ingest.drafts import AUTO, Limits, NewDoc
from services.ingest.own_chunks import clean_chunks, joined_text
from text.chunkers.base import STRATEGY_NAMES
from text.hashing import clean, is_blank, unfit
from text.nesting import depth, strings_in

MAX_METADATA_DEPTH = 32


def checked(doc: NewDoc, limits: Limits) -> NewDoc:
    """Returns the document as it will be stored. Raises Invalid or TooLarge, naming the field."""
    for field in ("tenant_id", "namespace"):
        check_new_name(field, getattr(doc, field), limits.name_chars)
    check_new_name("doc_id", doc.doc_id, limits.doc_id_chars)
    for field in ("title", "mime_type"):
        check_line(field, getattr(doc, field) or "")
    check_metadata(doc.doc_id, doc.metadata, limits, param="metadata")
    if doc.file is not None:
        if doc.chunk_strategy not in (AUTO, *STRATEGY_NAMES):
            message = f"There is no strategy {doc.chunk_strategy!r}; there are {AUTO}, {', '.join(STRATEGY_NAMES)}."
            raise Invalid(message, param="chunk_strategy")
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
    if is_blank(text):
        raise Invalid(f"The text of {doc.doc_id!r} is empty: there is nothing to search for in it.", param="text")
    return doc if text == doc.text else replace(doc, text=text)


def _with_checked_chunks(doc: NewDoc, limits: Limits) -> NewDoc:
    """Returns the document with its own chunks as they will be stored, and the text that they make up."""
    if doc.chunk_strategy != "default" or doc.chunk_overlap:
        raise Invalid("Own chunks are not cut: leave chunk_strategy and chunk_overlap out.", param="chunk_strategy")
    chunks = clean_chunks(doc.chunks, doc.doc_id)
    for number, chunk in enumerate(chunks):
        owner = f"{doc.doc_id}, chunk {number}"
        check_metadata(owner, chunk.metadata or {}, limits, param=f"chunks.{number}.metadata")
    return replace(doc, chunks=chunks, text=joined_text(chunks))


def check_metadata(owner: str, metadata: Json, limits: Limits, *, param: str) -> None:
    try:
        size = len(json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode())
    except (RecursionError, ValueError) as error:
        raise Invalid(f"The metadata of {owner!r} cannot be stored as JSON: {error}.", param=param) from error
    if size > limits.metadata_bytes:
        raise TooLarge(
            f"The metadata of {owner!r} takes {size} bytes as JSON; at most {limits.metadata_bytes} are "
            "accepted (MAX_METADATA_BYTES).",
            param=param,
        )
    if depth(metadata) > MAX_METADATA_DEPTH:
        raise Invalid(f"The metadata of {owner!r} is nested deeper than {MAX_METADATA_DEPTH}.", param=param)
    if problem := next(filter(None, map(unfit, strings_in(metadata))), None):
        raise Invalid(f"A key or a value in the metadata of {owner!r} {problem}: take it out.", param=param)
