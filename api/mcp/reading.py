"""Reads a stretch of a document from its chunks, without reading those before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from text.joining import Piece

CHUNKS_PER_READ = 64


class PlacedChunk(Protocol):
    @property
    def chunk_index(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def char_start(self) -> int: ...
    @property
    def char_end(self) -> int: ...


ReadChunks = Callable[[int, int], Sequence[PlacedChunk]]
"""From a chunk's index and a limit to the chunks behind it, in document order."""


def stretch(read: ReadChunks, offset: int, max_chars: int) -> tuple[str, int | None]:
    """At most *max_chars* from character *offset* of the document on, and where the rest begins; None: at its end."""
    parts: list[str] = []
    position, room = offset, max_chars
    for chunk in _chunks_from(read, offset):
        if chunk.char_end <= position:
            continue
        start = max(position, chunk.char_start)
        gap = _gap(start - position) if parts else ""
        rest = Piece(chunk.char_start, chunk.char_end, chunk.text).body[start - chunk.char_start :]
        part = rest[: max(room - len(gap), 0)]
        if len(part) < len(rest):
            return "".join([*parts, gap, part] if part else parts), start + len(part) if part else position
        parts += [gap, part]
        position, room = chunk.char_end, room - len(gap) - len(part)
    return "".join(parts), None


def _gap(chars: int) -> str:
    """What stands between two chunks so far apart: as in text.joining."""
    return ("", "\n")[chars] if chars < 2 else "\n\n"


def _chunks_from(read: ReadChunks, offset: int) -> Iterator[PlacedChunk]:
    after = _before(read, offset)
    while chunks := read(after, CHUNKS_PER_READ):
        yield from chunks
        after = chunks[-1].chunk_index


def _before(read: ReadChunks, offset: int) -> int:
    """The index of a chunk that ends before *offset*, at most CHUNKS_PER_READ before it; -1: there is none."""

    def ends_before(index: int) -> bool:
        behind = read(index - 1, 1)
        return bool(behind) and behind[0].char_end <= offset

    low, high = -1, CHUNKS_PER_READ
    while offset and ends_before(high):
        low, high = high, 2 * high
    while offset and high - low > CHUNKS_PER_READ:
        middle = (low + high) // 2
        low, high = (middle, high) if ends_before(middle) else (low, middle)
    return low
