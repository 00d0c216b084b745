"""From a document to its chunks, with what is embedded with each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from domain import CountTokens, Span
from engines.embedders.base import Embedder
from errors import Invalid
from services.drafting.nouns import Draft, NewDoc
from services.own_chunks import digest, key_of, spans_of
from text.chunkers import chunk
from text.enrich import embedded_text, header
from text.extract import EXTRACTION


def recipe_of(doc: NewDoc, chunk_tokens: int) -> str:
    """How the content is read, cut and headed. The same content by another recipe is another revision."""
    cut: list[object] = [doc.chunk_strategy, doc.chunk_overlap, chunk_tokens]
    told = [*([digest(doc.chunks)] if doc.chunks else cut), doc.heading, doc.enrich_context]
    if doc.file is not None:
        told += ["file", EXTRACTION]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def draft(doc: NewDoc, *, chunk_tokens: int, most_chunks: int, model: Embedder | None) -> Draft:
    """The document, cut; a file is not cut before a worker has read it.

    *model* will embed the chunks; None: their vectors came with them, and their tokens are not counted. Raises
    Invalid for an own chunk of which the model would not read all, and for more chunks than *most_chunks*.
    """
    recipe = recipe_of(doc, chunk_tokens)
    if doc.file is not None:
        return Draft(doc, doc.content_hash, recipe, (), (), ())
    count_tokens = model.count_tokens if model is not None else _no_tokens
    spans = _spans(doc, chunk_tokens, count_tokens)
    _check_count(doc, len(spans), most_chunks)
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


def _check_count(doc: NewDoc, count: int, most: int) -> None:
    if count > most:
        raise Invalid(
            f"{doc.called!r} comes to {count} chunks; at most {most} are accepted (MAX_CHUNKS_PER_DOCUMENT). Split it "
            "into several documents, or let its chunks be larger (CHUNK_TOKENS).",
            param="chunks" if doc.chunks else "text",
        )


def _check_tokens(doc: NewDoc, counts: Sequence[int], most: int) -> None:
    for number, count in enumerate(counts):
        if count > most:
            raise Invalid(
                f"Chunk {number} of {doc.doc_id!r} has {count} tokens, and the model reads {most}: cut it.",
                param=f"chunks.{number}.text",
            )
