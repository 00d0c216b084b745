"""Documents with headings: each section is a segment, and its heading stays with the text below it.

A heading is markdown's ``# Title`` or a line underlined with ``===`` or ``---``; for the default strategy also a
paragraph of one line that is in CAPITALS or begins with a number of two or more levels (``2.3 Title``; with one level,
every item of a list would be a heading). Lines in fenced code are never headings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from text.chunkers.base import Segment, Source, Unit, units_between
from text.chunkers.borders import BLANK_LINE, PROSE, lines
from text.chunkers.stretches import Border, Stretch
from text.chunkers.tables import Table, begins_table, is_long, table_at, table_segments

_ATX = re.compile(r"(#{1,6})[ \t]++([^\r\n]*[^\s#]#*)(?=\s|$)")
_UNDERLINE = re.compile(r"=++\Z|--++\Z")
_NUMBER = re.compile(r"\d{1,3}((?:\.\d{1,3}){1,5})\.?[ \t]+[^\W\d_]")
_FENCE = re.compile(r"`{3,}+(?![^\r\n]*`)|~{3,}+")
_ITEM = re.compile(r"[|>]|[-*+•][ \t]|\d{1,9}[.)][ \t]")
_LONGEST_PLAIN_HEADING = 80

Path = tuple[tuple[int, str], ...]
"""The current headings, outermost first, each with its level."""


@dataclass(frozen=True, slots=True)
class _Block:
    """A heading of *level* 1 to 6, or a body (level 0): a paragraph, a table or fenced code, cut at *borders*."""

    start: int
    end: int
    level: int = 0
    title: str = ""
    borders: tuple[Border, ...] = PROSE
    table: Table | None = None


def default(source: Source) -> Iterator[Segment]:
    yield from sections(source, [(0, len(source.text))], plain_headings=True)


def markdown(source: Source) -> Iterator[Segment]:
    yield from sections(source, [(0, len(source.text))], plain_headings=False)


def sections(
    source: Source, stretches: Iterable[Stretch], *, plain_headings: bool, tables_apart: bool = False
) -> Iterator[Segment]:
    """Yields the sections of each stretch. A section that continues in the next stretch is two segments of one path.

    A table that does not fit a chunk is a segment of its own, with its header repeated; with *tables_apart* every table
    is.
    """
    path: Path = ()
    for start, end in stretches:
        all_lines = list(lines(source.text, start, end))
        blocks = _Lines(source.text, all_lines, plain_headings=plain_headings).blocks()
        for headings, bodies in _with_their_headings(blocks):
            for heading in headings:
                path = (*(above for above in path if above[0] < heading.level), (heading.level, heading.title))
            yield from _segments(source, headings, bodies, titles(path), tables_apart=tables_apart)


def titles(path: Path) -> tuple[str, ...]:
    return tuple(title for _, title in path)


def _with_their_headings(blocks: Iterable[_Block]) -> Iterator[tuple[list[_Block], list[_Block]]]:
    """Groups blocks into sections. Consecutive headings belong to one section, that of the last."""
    headings: list[_Block] = []
    bodies: list[_Block] = []
    for block in blocks:
        if block.level and bodies:
            yield headings, bodies
            headings, bodies = [], []
        (headings if block.level else bodies).append(block)
    if headings or bodies:
        yield headings, bodies


def _segments(
    source: Source, headings: list[_Block], bodies: list[_Block], section: tuple[str, ...], *, tables_apart: bool
) -> Iterator[Segment]:
    pending: list[_Block] = []
    for body in bodies:
        if body.table is None or not (tables_apart or is_long(source, body.table)):
            pending.append(body)
            continue
        if pending:
            yield Segment(_units(source, headings, pending), section)
            headings, pending = [], []
        lead = headings[0].start if headings else None
        yield from table_segments(source, body.table, lead=lead, section=section)
        headings = []
    if headings or pending:
        yield Segment(_units(source, headings, pending), section)


def _units(source: Source, headings: Sequence[_Block], bodies: Sequence[_Block]) -> list[Unit]:
    """Returns the units of a section. The first includes the headings, so that no chunk is a heading alone."""
    if not bodies:
        return list(units_between(source, headings[0].start, headings[-1].end, (lines,)))
    units: list[Unit] = []
    for body in bodies:
        start = headings[0].start if headings and not units else body.start
        units += units_between(source, start, body.end, body.borders)
    return units


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of a stretch that are not blank, and the blocks that they form."""

    text: str
    lines: list[Stretch]
    plain_headings: bool

    def blocks(self) -> Iterator[_Block]:
        at = 0
        while at < len(self.lines):
            block, at = self._fenced(at) or self._heading(at) or self._table(at) or self._paragraph(at)
            yield block

    def _fenced(self, at: int) -> tuple[_Block, int] | None:
        """Ends at the closing fence, or at the end of the text without one, as in CommonMark."""
        fence = _FENCE.match(self.text, *self.lines[at])
        if fence is None:
            return None
        last = at + 1
        while last < len(self.lines) and not self._closes(last, fence.group()):
            last += 1
        last = min(last, len(self.lines) - 1)
        return self._body(at, last, (lines,)), last + 1

    def _closes(self, at: int, fence: str) -> bool:
        line = self._line(at)
        return len(line) >= len(fence) and not line.strip(fence[0])

    def _heading(self, at: int) -> tuple[_Block, int] | None:
        heading = _ATX.match(self.text, *self.lines[at])
        if heading:
            return self._titled(at, at, len(heading.group(1)), heading.group(2)), at + 1
        if self._is_underlined(at):
            level = 1 if self._line(at + 1)[0] == "=" else 2
            return self._titled(at, at + 1, level, self._line(at)), at + 2
        level = self._plain_level(at) if self.plain_headings else 0
        return (self._titled(at, at, level, self._line(at)), at + 1) if level else None

    def _is_underlined(self, at: int) -> bool:
        if self._ends_paragraph(at) or not _UNDERLINE.match(self.text, *self.lines[at + 1]):
            return False
        return any(letter.isalnum() for letter in self._line(at))

    def _plain_level(self, at: int) -> int:
        """Returns 1 for CAPITALS, the count of numbers for ``2.3 Title``, 0 if it is not a heading."""
        start, end = self.lines[at]
        if end - start > _LONGEST_PLAIN_HEADING or not self._ends_paragraph(at):
            return 0
        line = self.text[start:end]
        if line[-1] in ".,;!?":
            return 0
        number = _NUMBER.match(line)
        if number:
            return 1 + number.group(1).count(".")
        return 1 if line.isupper() and sum(letter.isupper() for letter in line) >= 4 else 0

    def _table(self, at: int) -> tuple[_Block, int] | None:
        table, stop = table_at(self.text, self.lines, at)
        if table is None:
            return None
        return _Block(table.start, self.lines[stop - 1][1], borders=(lines, *PROSE), table=table), stop

    def _paragraph(self, at: int) -> tuple[_Block, int]:
        last = at
        while not self._ends_paragraph(last):
            last += 1
        borders = (lines, *PROSE) if _ITEM.match(self.text, *self.lines[at]) else PROSE
        return self._body(at, last, borders), last + 1

    def _ends_paragraph(self, at: int) -> bool:
        if at + 1 == len(self.lines):
            return True
        end, start = self.lines[at][1], self.lines[at + 1][0]
        if BLANK_LINE.search(self.text, end, start):
            return True
        if _ATX.match(self.text, start) or _FENCE.match(self.text, start):
            return True
        return begins_table(self.text, self.lines, at + 1)

    def _body(self, first: int, last: int, borders: tuple[Border, ...]) -> _Block:
        return _Block(self.lines[first][0], self.lines[last][1], borders=borders)

    def _titled(self, first: int, last: int, level: int, title: str) -> _Block:
        return _Block(self.lines[first][0], self.lines[last][1], level, title.strip())

    def _line(self, at: int) -> str:
        start, end = self.lines[at]
        return self.text[start:end]
