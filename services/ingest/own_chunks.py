"""Chunks that were cut by whoever sends them, with vectors from outside or without."""

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

BETWEEN = "\n\n"
MOST_DIMENSIONS = 16_000
"""What pgvector holds. On SQLite too: a namespace can be moved."""


def unit(values: Sequence[float], *, param: str, what: str = "The vector") -> bytes:
    """A vector from outside as it is stored. Raises Invalid for one that has no direction, or is too long."""
    if not 0 < len(values) <= MOST_DIMENSIONS:
        raise Invalid(f"{what} has {len(values)} numbers; 1 to {MOST_DIMENSIONS} are accepted.", param=param)
    vector = np.array(values, np.float64)
    largest = np.abs(vector).max()
    if not np.isfinite(largest):
        raise Invalid(f"{what} must consist of finite numbers.", param=param)
    if largest == 0:
        raise Invalid(f"{what} is zero: it has no direction, and nothing is near to it.", param=param)
    vector /= largest
    stored: NDArray[np.float32] = (vector / np.linalg.norm(vector)).astype("<f4")
    return stored.tobytes()


def cleaned(chunks: Sequence[OwnChunk], doc_id: str) -> tuple[OwnChunk, ...]:
    """The chunks of one document as they will be stored. Raises Invalid for an empty one, or a mixture of vectors."""
    first = chunks[0].dimension
    for number, chunk in enumerate(chunks):
        if is_blank(clean(chunk.text)):
            raise Invalid(f"Chunk {number} of {doc_id!r} has no text.", param=f"chunks.{number}.text")
        if chunk.dimension != first:
            raise Invalid(
                f"Chunk {number} of {doc_id!r} has {_told(chunk.dimension)}, chunk 0 {_told(first)}: "
                "all or none come with a vector, and all of the same dimension.",
                param=f"chunks.{number}.vector",
            )
    return tuple(replace(chunk, text=clean(chunk.text)) for chunk in chunks)


def joined(chunks: Sequence[OwnChunk]) -> str:
    """The text of a document that came in chunks."""
    return BETWEEN.join(chunk.text for chunk in chunks)


def spans_of(chunks: Sequence[OwnChunk], *, count_tokens: CountTokens) -> list[Span]:
    """Where the chunks stand in the joined text."""
    spans: list[Span] = []
    start = 0
    for chunk in chunks:
        end = start + len(chunk.text)
        tokens = count_tokens(chunk.text)
        spans.append(Span(start, end, chunk.text, tokens, page_start=chunk.page, page_end=chunk.page))
        start = end + len(BETWEEN)
    return spans


def key_of(text: str, vector: bytes | None) -> bytes:
    """The key under which a chunk's vector is found. One text may come with several vectors from outside."""
    return embed_hash(text) if vector is None else hashlib.sha256(text.encode() + b"\x00" + vector).digest()


def require_fit(called: str, sent: int | None, expected: int | None) -> None:
    """*sent* is the dimension of a document's own vectors, *expected* that of the namespace; None: a model makes them.

    Raises Invalid where they differ.
    """
    if sent == expected:
        return
    if expected is None:
        told = (
            "The vectors of this namespace are made by a model: send chunks without vector, or use another namespace."
        )
    elif sent is None:
        told = (
            f"The vectors of this namespace come from outside: send chunks, each with a vector of {expected} numbers."
        )
    else:
        told = f"The vectors of this namespace have {expected} numbers, not {sent}."
    raise Invalid(f"{called!r} does not fit. {told}", param="chunks")


def _told(dimension: int | None) -> str:
    return "no vector" if dimension is None else f"a vector of {dimension} numbers"
