"""The parts of every strategy: a source, units that stay whole, and segments of units that may share a chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from semantic_text_splitter import TextSplitter

from domain import CountTokens
from text.chunkers.stretches import Border, trimmed

CHUNKING = 1
"""The version of chunking: raise it when texts are cut or headed differently, and texts sent again are cut again."""

STRATEGY_NAMES = ("default", "markdown", "sentences", "pages", "conversation", "table")

CHARS_PER_TOKEN = 32
"""The most characters per token of a chunk's limit. WordPiece counts a word of more than 100 characters as one
unknown token, so with a limit of tokens alone a megabyte of base64 could be one chunk."""

_WINDOW = 2_000
"""TextSplitter takes quadratic time (measured), so long text is split in windows."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest piece that the packer moves. *weight* is in tokens and at least 1, as in Source.weight."""

    start: int
    end: int
    weight: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Units that may share a chunk: a section, a page or a table. No chunk crosses two segments.

    *prefix* is a table's header, repeated in front of each chunk that begins after *header*, its offsets in the text.
    *whole_overlap*: an overlap consists of whole units.
    """

    units: list[Unit] = field(default_factory=list)
    section: tuple[str, ...] = ()
    prefix: str = ""
    header: tuple[int, int] = (-1, -1)
    whole_overlap: bool = False

    def prefix_at(self, start: int) -> str:
        """The prefix of a chunk that begins at *start*."""
        return self.prefix if start > self.header[0] else ""


@dataclass(frozen=True, slots=True)
class Source:
    """A document and the limits of its chunks."""

    text: str
    max_tokens: int
    count_tokens: CountTokens

    def weight(self, start: int, end: int) -> int:
        """The tokens of a stretch, or its characters divided by CHARS_PER_TOKEN, whichever is more."""
        return max(self.count_tokens(self.text[start:end]), (end - start) // CHARS_PER_TOKEN)

    def beside(self, prefix: str) -> Source:
        """The same document, with the room that *prefix* leaves in each chunk."""
        return replace(self, max_tokens=self.max_tokens - self.count_tokens(prefix)) if prefix else self


def units_between(source: Source, start: int, end: int, borders: tuple[Border, ...]) -> Iterator[Unit]:
    """Yields the stretch as one unit if it fits a chunk, else cut at the first kind of border, then at the next.

    What still does not fit is cut between words, then graphemes, then code points. Only a single code point can exceed
    the limit of a chunk.
    """
    start, end = trimmed(source.text, start, end)
    if start == end:
        return
    unit = _whole(source, start, end)
    if unit:
        yield unit
    elif borders:
        for first, last in borders[0](source.text, start, end):
            yield from units_between(source, first, last, borders[1:])
    else:
        yield from _fragments(source, start, end)


def units_of(source: Source, stretches: Iterable[tuple[int, int]], borders: tuple[Border, ...]) -> list[Unit]:
    """Returns the units of several stretches, in order."""
    return [unit for start, end in stretches for unit in units_between(source, start, end, borders)]


def _whole(source: Source, start: int, end: int) -> Unit | None:
    if end - start >= (source.max_tokens + 1) * CHARS_PER_TOKEN:
        return None  # too long in any case; counting its tokens could take as long as for a whole document
    weight = source.weight(start, end)
    return Unit(start, end, max(1, weight)) if weight <= source.max_tokens else None


def _fragments(source: Source, start: int, end: int) -> Iterator[Unit]:
    """Yields pieces of about half a chunk, so that the packer has a choice."""
    while start < end:
        stop = min(end, start + _WINDOW)
        fair = (stop - start) * source.max_tokens // (2 * max(1, source.weight(start, stop)))
        size = max(1, min(fair, _WINDOW // 2))
        pieces = _pieces(source.text, start, stop, size)
        if stop < end:
            stop = pieces.pop()[0]  # cut off by the window: the next window contains it whole
        for first, last in pieces:
            yield from _fitting(source, first, last)
        start = stop


def _fitting(source: Source, start: int, end: int) -> Iterator[Unit]:
    start, end = trimmed(source.text, start, end)
    if start == end:
        return
    unit = _whole(source, start, end)
    if unit:
        yield unit
    elif end - start == 1:
        yield Unit(start, end, source.max_tokens)
    else:
        for first, last in _pieces(source.text, start, end, (end - start) // 2):
            yield from _fitting(source, first, last)


def _pieces(text: str, start: int, end: int, size: int) -> list[tuple[int, int]]:
    """Returns adjoining pieces of at most *size* characters, each cut at the best border in its second half."""
    splitter = TextSplitter(((size + 1) // 2, size), trim=False)
    pieces = splitter.chunk_indices(text[start:end])
    return [(start + offset, start + offset + len(piece)) for offset, piece in pieces]
