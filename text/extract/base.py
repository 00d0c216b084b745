"""What every reader of a file gives and keeps to. Pure: bytes in, text out, no IO."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from errors import Unreadable

Ocr = Callable[[bytes], str]
"""The text on a picture (PGM: 8 bits of grey per pixel)."""

Convert = Callable[[bytes, str], bytes]
"""The HTML that another program makes of a file; the string is the usual suffix of such files."""

PAGE = "\f"
"""Begins the next page for the chunkers (text/chunkers/pages.py)."""

MOST_CAVEATS = 200
_NO_TITLES = {
    "", "untitled", "untitled document", "untitled presentation", "untitled spreadsheet", "untitled 1", "no title",
    "document", "document1", "new document", "word document", "microsoft word", "presentation", "presentation1",
    "powerpoint presentation", "powerpoint-pr\u00e4sentation", "pr\u00e9sentation powerpoint", "slide 1", "folie 1",
}  # fmt: skip
_OF_A_PROGRAM = re.compile(r"^Microsoft (?:Word|PowerPoint|Excel) - ")
_PAGE_MARKS = re.compile(
    r"^[ \t]*(?:\[page[ \t]+\d{1,6}\]|([-=])\1+[ \t]*page[ \t]+\d{1,6}[ \t]*\1{2,})[ \t]*$", re.I | re.M
)

EXTRACTION = 2
"""Raised when files are read otherwise than before: what is sent again is then read again."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one document may be, each a setting. *unpacked_bytes* is for what comes in a ZIP archive."""

    pages: int
    chars: int
    unpacked_bytes: int


@dataclass(frozen=True, slots=True)
class Caveat:
    """What of a file is not in its text, or may be wrong in it. docs/files.md lists the codes.

    *part* names a sheet, a chapter, an attachment or another part of the file.
    """

    code: str
    message: str
    page: int | None = None
    part: str | None = None


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """A file as text. *strategy* is the way of chunking that fits it."""

    text: str
    mime_type: str
    strategy: str
    title: str | None = None
    warnings: tuple[Caveat, ...] = ()


@dataclass(slots=True)
class Pieces:
    """Collects the paragraphs of a text; raises Unreadable when they become more than a document may have."""

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
        """A markdown table, below the rows above its header that are titles; what has one column is no table. With a
        *title_level* a single title is a heading, so that it is known of all that stands below it.
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
        if caveat not in self._caveats and len(self._caveats) < MOST_CAVEATS:
            self._caveats.append(caveat)

    def take(self, caveats: Iterable[Caveat]) -> None:
        for caveat in caveats:
            self.warn(caveat.code, caveat.message, page=caveat.page, part=caveat.part)

    @property
    def chars(self) -> int:
        return self._chars

    def extracted(self, mime_type: str, otherwise: str, title: str | None = None) -> ExtractedText:
        """What was collected. *otherwise* is the way of chunking for a text without tables."""
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
    """None for what a program calls a file that nobody gave a title."""
    title = _OF_A_PROGRAM.sub("", one_line(title or ""))
    return None if title.casefold() in _NO_TITLES else title


def one_line(text: str) -> str:
    return " ".join(text.split())


def without_page_marks(text: str) -> str:
    """The text of a page, without what the chunkers would take for the beginning of another one."""
    return _PAGE_MARKS.sub("", text.replace(PAGE, "\n"))


def numbers(found: Sequence[int]) -> str:
    """``page 3``, ``pages 3 and 4 to 6``: for whoever reads why something is missing."""
    runs: list[list[int]] = []
    for number in found:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    shown = [f"{run[0]} to {run[1]}" if len(run) > 1 else str(run[0]) for run in runs[:10]]
    if len(runs) > 10:
        shown[9:] = ["others"]
    told = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"page{'s' if len(found) > 1 else ''} {told}"


def _count_titles(rows: Sequence[Sequence[str]]) -> int:
    """How many rows at the top have nothing but their first cell, where a row with more cells follows."""
    for number, row in enumerate(rows):
        if not row[0] or any(row[1:]):
            return number if sum(map(bool, row)) > 1 else 0
    return 0


def _row(cells: Sequence[str], width: int) -> str:
    padded = [*(cell.replace("|", "\\|") for cell in cells), *[""] * (width - len(cells))]
    return f"| {' | '.join(padded)} |"
