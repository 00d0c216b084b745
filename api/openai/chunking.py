"""OpenAI's chunking strategies, as far as a document can be cut by them here.

The largest chunk is the installation's (CHUNK_TOKENS). Of a static strategy the overlap is taken, as its
share of a chunk.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from api.doors import LenientBody

FEWEST_TOKENS, MOST_TOKENS = 100, 4096


class StaticChunkingIn(LenientBody):
    max_chunk_size_tokens: Annotated[int, Field(ge=FEWEST_TOKENS, le=MOST_TOKENS)]
    chunk_overlap_tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS // 2)]

    @model_validator(mode="after")
    def _overlaps_half_at_most(self) -> StaticChunkingIn:
        if 2 * self.chunk_overlap_tokens > self.max_chunk_size_tokens:
            raise ValueError("chunk_overlap_tokens may be half of max_chunk_size_tokens at most.")
        return self


class ChunkingStrategyIn(LenientBody):
    type: Literal["auto", "static"]
    static: StaticChunkingIn | None = None

    @model_validator(mode="after")
    def _says_how(self) -> ChunkingStrategyIn:
        if (self.type == "static") != (self.static is not None):
            raise ValueError("A strategy of type static, and no other, has the object static.")
        return self


def overlap_of(strategy: ChunkingStrategyIn | None) -> float:
    """As a share of a chunk."""
    if strategy is None or strategy.static is None:
        return 0.0
    return strategy.static.chunk_overlap_tokens / strategy.static.max_chunk_size_tokens
