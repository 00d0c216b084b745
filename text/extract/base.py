"""What every reader of a file gives and keeps to. Pure: bytes in, text out, no IO."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from errors import Unreadable

Ocr = Callable[[bytes], str]
"""The text on a picture (PGM: 8 bits of grey per pixel)."""

PAGE = "\f"
"""Begins the next page for the chunkers (text/chunkers/pages.py)."""

_BLANK = re.compile(r"\s+")
_PAGE_MARKS = re.compile(
    r"^[ \t]*(?:\[page[ \t]+\d{1,6}\]|([-=])\1+[ \t]*page[ \t]+\d{1,6}[ \t]*\1{2,})[ \t]*$", re.I | re.M
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one document may be, each a setting. *unpacked_bytes* is for what comes in a ZIP archive."""

    pages: int
    chars: int
    unpacked_bytes: int


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """A file as text. *strategy* is the way of chunking that fits it; *warnings* say what of it is not in the text."""

    text: str
    mime_type: str
    strategy: str
    title: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Pieces:
    """Collects the paragraphs of a text; raises Unreadable when they become more than a document may have."""

    most_chars: int
    has_tables: bool = False
    _pieces: list[str] = field(default_factory=list)
    _chars: int = 0

    def add(self, piece: str) -> None:
        if piece := piece.strip():
            self._put(piece)

    def add_heading(self, level: int, title: str) -> None:
        if title := one_line(title):
            self._put(f"{'#' * min(max(level, 1), 6)} {title}")

    def add_table(self, rows: Iterable[Sequence[str]]) -> None:
        """A markdown table; what has one column is no table."""
        filled = [row for row in ([one_line(cell) for cell in row] for row in rows) if any(row)]
        width = max((len(row) for row in filled), default=0)
        if width < 2:
            for row in filled:
                self.add(row[0])
            return
        self.has_tables = True
        lines = [_row(row, width) for row in filled]
        self._put("\n".join([lines[0], _row(["---"] * width, width), *lines[1:]]))

    def add_page_break(self) -> None:
        self._pieces.append(PAGE)

    def text(self) -> str:
        return "\n\n".join(self._pieces).rstrip()

    def strategy(self, otherwise: str) -> str:
        return "table" if self.has_tables else otherwise

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


def one_line(text: str) -> str:
    return _BLANK.sub(" ", text).strip()


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


def _row(cells: Sequence[str], width: int) -> str:
    padded = [*(cell.replace("|", "\\|") for cell in cells), *[""] * (width - len(cells))]
    return f"| {' | '.join(padded)} |"
