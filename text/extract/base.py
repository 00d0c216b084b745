"""The parts that all readers of files share. Pure: bytes in, text out, no IO."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from errors import Unreadable

Ocr = Callable[[bytes], str]
"""Returns the text on a picture (PGM, 8 bits of grey per pixel)."""

Convert = Callable[[bytes, str], bytes]
"""Converts a file to HTML with another program; the string is the usual suffix of such files."""

PAGE = "\f"
"""A page break for the chunkers (text/chunkers/pages.py)."""

MAX_CAVEATS = 200
_PLACEHOLDER_TITLES = {
    "", "untitled", "untitled document", "untitled presentation", "untitled spreadsheet", "untitled 1", "no title",
    "document", "document1", "new document", "word document", "microsoft word", "presentation", "presentation1",
    "powerpoint presentation", "powerpoint-pr\u00e4sentation", "pr\u00e9sentation powerpoint", "slide 1", "folie 1",
}  # fmt: skip
_PROGRAM_PREFIX = re.compile(r"^Microsoft (?:Word|PowerPoint|Excel) - ")
_PAGE_MARKS = re.compile(
    r"^[ \t]*(?:\[page[ \t]+\d{1,6}\]|([-=])\1+[ \t]*page[ \t]+\d{1,6}[ \t]*\1{2,})[ \t]*$", re.I | re.M
)

EXTRACTION = 2
"""The version of extraction: raise it when files are read differently, and files sent again are read again."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a document, each a setting. *unpacked_bytes* applies to ZIP archives."""

    pages: int
    chars: int
    unpacked_bytes: int


@dataclass(frozen=True, slots=True)
class Caveat:
    """A warning about what is missing from the extracted text, or may be wrong in it. docs/files.md lists the codes.

    *part* names a sheet, a chapter, an attachment or another part of the file.
    """

    code: str
    message: str
    page: int | None = None
    part: str | None = None


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """The text of a file. *strategy* is the chunking strategy that suits it."""

    text: str
    mime_type: str
    strategy: str
    title: str | None = None
    warnings: tuple[Caveat, ...] = ()


@dataclass(slots=True)
class TextBuilder:
    """Collects the paragraphs of a text; raises Unreadable if they exceed *most_chars*."""

    most_chars: int
    has_tables: bool = False
    _pieces: list[str] = field(default_factory=list)
    _chars: int = 0
    _caveats: list[Caveat] = field(default_factory=list)

    def add(self, piece: str) -> None:
        if piece := piece.strip():
            self._put(piece)

    def add_heading(self, level: int, title: str) -> None:
        if title := one_line(title):
            self._put(f"{'#' * min(max(level, 1), 6)} {title}")

    def add_table(self, rows: Iterable[Sequence[str]], *, title_level: int = 0) -> None:
        """Adds a markdown table. Leading rows that are titles, and rows of a table of one column, become paragraphs;
        with a *title_level* a single title becomes a heading, so that it applies to everything below it.
        """
        filled = [row for row in ([one_line(cell) for cell in row] for row in rows) if any(row)]
        width = max((len(row) for row in filled), default=0)
        titles = len(filled) if width < 2 else _count_titles(filled)
        for row in filled[:titles]:
            if title_level and titles == 1 < len(filled):
                self.add_heading(title_level, row[0])
            else:
                self.add(row[0])
        filled = filled[titles:]
        if not filled:
            return
        self.has_tables = True
        lines = [_row(row, width) for row in filled]
        self._put("\n".join([lines[0], _row(["---"] * width, width), *lines[1:]]))

    def add_page_break(self) -> None:
        self._pieces.append(PAGE)

    def warn(self, code: str, message: str, *, page: int | None = None, part: str | None = None) -> None:
        caveat = Caveat(code, message, page, part)
        if caveat not in self._caveats and len(self._caveats) < MAX_CAVEATS:
            self._caveats.append(caveat)

    def add_caveats(self, caveats: Iterable[Caveat]) -> None:
        for caveat in caveats:
            self.warn(caveat.code, caveat.message, page=caveat.page, part=caveat.part)

    @property
    def chars(self) -> int:
        return self._chars

    def extracted(self, mime_type: str, otherwise: str, title: str | None = None) -> ExtractedText:
        """Returns the collected text. *otherwise* is the chunking strategy if it has no tables."""
        strategy = "table" if self.has_tables else otherwise
        text = "\n\n".join(self._pieces).rstrip()
        return ExtractedText(text, mime_type, strategy, real_title(title), tuple(self._caveats))

    def _put(self, piece: str) -> None:
        self._pieces.append(piece)
        self._chars += len(piece)
        check_chars(self._chars, self.most_chars)


def check_chars(chars: int, most_chars: int) -> None:
    if chars > most_chars:
        raise Unreadable(f"It has more than {most_chars} characters of text (MAX_TEXT_CHARS). Split it.")


def check_pages(pages: int, bounds: Bounds) -> None:
    if pages > bounds.pages:
        raise Unreadable(f"It has {pages} pages; at most {bounds.pages} are accepted (MAX_PAGES). Split it.")


def real_title(title: str | None) -> str | None:
    """Returns the title, or None if it is a program's placeholder."""
    title = _PROGRAM_PREFIX.sub("", one_line(title or ""))
    return None if title.casefold() in _PLACEHOLDER_TITLES else title


def one_line(text: str) -> str:
    return " ".join(text.split())


def without_page_marks(text: str) -> str:
    """Removes what the chunkers would take for a page mark from the text of a page."""
    return _PAGE_MARKS.sub("", text.replace(PAGE, "\n"))


def page_ranges(page_numbers: Sequence[int]) -> str:
    """Formats page numbers for messages: ``page 3``, ``pages 3 and 5 to 7``."""
    runs: list[list[int]] = []
    for number in page_numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    ranges = [f"{run[0]} to {run[1]}" if len(run) > 1 else str(run[0]) for run in runs[:10]]
    if len(runs) > 10:
        ranges[9:] = ["others"]
    listed = ranges[0] if len(ranges) == 1 else f"{', '.join(ranges[:-1])} and {ranges[-1]}"
    return f"page{'s' if len(page_numbers) > 1 else ''} {listed}"


def _count_titles(rows: Sequence[Sequence[str]]) -> int:
    """Counts the leading rows with only a first cell; 0 unless a row with more cells follows."""
    for number, row in enumerate(rows):
        if not row[0] or any(row[1:]):
            return number if sum(map(bool, row)) > 1 else 0
    return 0


def _row(cells: Sequence[str], width: int) -> str:
    padded = [*(cell.replace("|", "\\|") for cell in cells), *[""] * (width - len(cells))]
    return f"| {' | '.join(padded)} |"
