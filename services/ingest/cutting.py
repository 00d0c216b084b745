"""Cuts a document into chunks, each with the header that is embedded with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compression import Compression
from domain import Span
from errors import Invalid
from services.ingest.drafts import Draft, NewDoc, TokenCounter, recipe_of
from services.ingest.own_chunks import key_of, spans_of
from text.chunkers import chunk
from text.enrich import LONGEST_HEADER, embedded_text, header
from text.extract.base import Caveat


def draft(
    doc: NewDoc, model: TokenCounter | None, *, chunk_tokens: int, max_chunks: int, compression: Compression
) -> Draft:
    """Cuts the document into chunks. A file is not cut here: a worker extracts its text first.

    The draft's text is compressed, here and not in the commit, so that no other writer waits for it.

    *model* will embed the chunks; with None their vectors are external, and their tokens are not counted. Raises
    Invalid for an own chunk that exceeds the model's input length, and for more than *max_chunks* chunks.
    """
    chunk_tokens = doc.chunk_tokens or chunk_tokens
    recipe = recipe_of(doc, chunk_tokens)
    if doc.file is not None:
        return Draft(doc, doc.content_hash, recipe, (), (), ())
    spans = _spans(doc, chunk_tokens, model)
    _check_count(doc, len(spans), max_chunks)
    headers = [_header(doc, span.section, model, text_tokens=span.token_count) for span in spans]
    texts = [embedded_text(span.text, head) for span, head in zip(spans, headers, strict=True)]
    warnings = _check_tokens(doc, spans, texts, model) if model is not None else ()
    vectors = [chunk.vector for chunk in doc.chunks] or [None] * len(texts)
    keys = tuple(key_of(text, vector) for text, vector in zip(texts, vectors, strict=True))
    stored = replace(doc, text=compression.text(doc.text))
    return Draft(stored, doc.content_hash, recipe, tuple(spans), tuple(headers), keys, warnings)


def _spans(doc: NewDoc, chunk_tokens: int, model: TokenCounter | None) -> list[Span]:
    if doc.chunks or model is None:
        return spans_of(doc.chunks, count_tokens=model.count_tokens if model is not None else None)
    return chunk(
        doc.text,
        doc.chunk_strategy,
        max_tokens=min(chunk_tokens, model.max_tokens),
        overlap_chars=doc.chunk_overlap,
        count_tokens=model.count_tokens,
        most_tokens=lambda section: model.max_tokens - model.count_tokens(_header(doc, section, model)),
    )


def _check_count(doc: NewDoc, count: int, max_chunks: int) -> None:
    if count > max_chunks:
        raise Invalid(
            f"{doc.display_name!r} comes to {count} chunks; at most {max_chunks} are accepted "
            "(MAX_CHUNKS_PER_DOCUMENT). Split it into several documents, or let its chunks be larger (CHUNK_TOKENS).",
            param="chunks" if doc.chunks else "text",
        )


def _header(doc: NewDoc, section: tuple[str, ...], model: TokenCounter | None, *, text_tokens: int = 0) -> str:
    """Returns a header that leaves the model room for the *text_tokens* tokens of the chunk behind it."""
    if model is None or not doc.enrich_context:
        return ""
    room = min(LONGEST_HEADER, model.max_tokens - text_tokens)
    return header(doc.heading, section, count_tokens=model.count_tokens, max_tokens=max(room, 0))


def _check_tokens(doc: NewDoc, spans: Sequence[Span], texts: Sequence[str], model: TokenCounter) -> tuple[Caveat, ...]:
    """Returns a warning if chunks are too long for the model. Raises Invalid if the sender cut them."""
    limit = model.max_tokens
    candidates = [index for index, span in enumerate(spans) if span.token_count + LONGEST_HEADER > limit]
    too_long = [index for index in candidates if model.count_tokens(texts[index]) > limit]
    if not too_long:
        return ()
    first = too_long[0]
    if doc.chunks:
        raise Invalid(
            f"Chunk {first} of {doc.doc_id!r} has {model.count_tokens(texts[first])} tokens, and the model reads "
            f"{limit}: cut it.",
            param=f"chunks.{first}.text",
        )
    message = (
        f"{len(too_long)} chunks, the first of them chunk {first}, have more than the {limit} tokens that "
        "the model reads: only keyword search covers their ends."
    )
    return (Caveat("chunks_beyond_model", message),)
