"""Chunks that the sender has cut, with or without external vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from domain import CountTokens, Span
from errors import Invalid
from services.ingest.drafts import OwnChunk
from text.hashing import clean, embed_hash, is_blank

SEPARATOR = "\n\n"
MAX_DIMENSIONS = 16_000
"""The limit of pgvector. Applies to SQLite too, since a namespace can be moved."""


def unit_vector(values: Sequence[float] | NDArray[np.float32], *, param: str, name: str = "The vector") -> bytes:
    """Returns an external vector as it is stored. Raises Invalid for one that has no direction, or is too long."""
    if not 0 < len(values) <= MAX_DIMENSIONS:
        raise Invalid(f"{name} has {len(values)} numbers; 1 to {MAX_DIMENSIONS} are accepted.", param=param)
    vector = np.array(values, np.float64)
    largest = np.abs(vector).max()
    if not np.isfinite(largest):
        raise Invalid(f"{name} must consist of finite numbers.", param=param)
    if largest == 0:
        raise Invalid(f"{name} is zero: it has no direction, and nothing is near to it.", param=param)
    vector /= largest
    stored: NDArray[np.float32] = (vector / np.linalg.norm(vector)).astype("<f4")
    return stored.tobytes()


def clean_chunks(chunks: Sequence[OwnChunk], doc_id: str) -> tuple[OwnChunk, ...]:
    """Returns a document's chunks as they will be stored. Raises Invalid for empty ones and mixed dimensions."""
    first = chunks[0].dimension
    for number, chunk in enumerate(chunks):
        if is_blank(clean(chunk.text)):
            raise Invalid(f"Chunk {number} of {doc_id!r} has no text.", param=f"chunks.{number}.text")
        if chunk.dimension != first:
            raise Invalid(
                f"Chunk {number} of {doc_id!r} has {_describe(chunk.dimension)}, chunk 0 {_describe(first)}: "
                "all or none come with a vector, and all of the same dimension.",
                param=f"chunks.{number}.vector",
            )
    return tuple(replace(chunk, text=clean(chunk.text)) for chunk in chunks)


def joined_text(chunks: Sequence[OwnChunk]) -> str:
    """Returns the text of a document that was sent in chunks."""
    return SEPARATOR.join(chunk.text for chunk in chunks)


def spans_of(chunks: Sequence[OwnChunk], *, count_tokens: CountTokens | None) -> list[Span]:
    """Returns the positions of the chunks in the joined text. Without *count_tokens*, each has 0 tokens."""
    spans: list[Span] = []
    start = 0
    for chunk in chunks:
        end = start + len(chunk.text)
        tokens = count_tokens(chunk.text) if count_tokens is not None else 0
        spans.append(Span(start, end, chunk.text, tokens, page_start=chunk.page, page_end=chunk.page))
        start = end + len(SEPARATOR)
    return spans


def key_of(text: str, vector: bytes | None) -> bytes:
    """Returns the key of a chunk's vector. One text may be sent with several external vectors."""
    return embed_hash(text) if vector is None else hashlib.sha256(text.encode() + b"\x00" + vector).digest()


def require_same_dimension(display_name: str, dimension: int | None, expected: int | None) -> None:
    """Raises Invalid if the *dimension* of a document's external vectors is not the one *expected* by its namespace.

    None stands for vectors that a model computes.
    """
    if dimension == expected:
        return
    if expected is None:
        problem = (
            "A model computes the vectors of this namespace: send chunks without vector, or use another namespace."
        )
    elif dimension is None:
        problem = f"The vectors of this namespace are external: send chunks, each with a vector of {expected} numbers."
    else:
        problem = f"The vectors of this namespace have {expected} numbers, not {dimension}."
    raise Invalid(f"{display_name!r} does not fit. {problem}", param="chunks")


def _describe(dimension: int | None) -> str:
    return "no vector" if dimension is None else f"a vector of {dimension} numbers"
