"""PDF: what stands on each page, large lines as headings, lines in columns as tables.

A PDF says where each letter stands and nothing else. Lines that are larger than most are taken for headings, a wide
gap between lines for the end of a paragraph, and words that stand apart in neighbouring lines, below each other, for
a table.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from errors import Unreadable
from text.extract.base import (
    Bounds,
    ExtractedText,
    Ocr,
    Pieces,
    check_chars,
    check_pages,
    numbers,
    one_line,
    without_page_marks,
)
from text.extract.kinds import PDF

_HEADING_SIZE = 1.15  # of the size that most of the text has
_LONGEST_HEADING = 150
_PARAGRAPH_GAP = 0.6  # of a line's height, between one line and the next
_LINES_BACK = 2
_CELL_GAP = 1.0  # of a line's height, between one word and the next
_HYPHENS = re.compile("[\x02\ufffe]")  # what the library makes of a hyphen at the end of a line
_OCR_SCALE = 300 / 72
_MOST_OCR_PIXELS = 40_000_000


@dataclass(frozen=True, slots=True)
class _Cell:
    """Words that stand close together, from *left* to *right* in points."""

    text: str
    left: float = 0
    right: float = 0


@dataclass(frozen=True, slots=True)
class _Line:
    """*size* is its height in points, *gap* the white above it in lines; *cells* are parted by wide white."""

    cells: tuple[_Cell, ...]
    size: float
    gap: float

    @property
    def text(self) -> str:
        return " ".join(cell.text for cell in self.cells)


def read_pdf(content: bytes, bounds: Bounds, ocr: Ocr | None) -> ExtractedText:
    """The text of all pages. A page that is a picture is read by *ocr*; without it, its number is a warning.

    Raises Unreadable for what is encrypted or damaged, and where no page has any text.
    """
    pdf = _opened(content)
    try:
        check_pages(len(pdf), bounds)
        pages: list[list[_Line]] = []
        scans: list[int] = []
        chars = 0
        for number in range(1, len(pdf) + 1):
            lines, is_scan = _read_page(pdf, number - 1, ocr)
            pages.append(lines)
            scans += [number] if is_scan else []
            chars += sum(len(line.text) for line in lines)
            check_chars(chars, bounds.chars)
        title = one_line(pdf.get_metadata_dict().get("Title", ""))
    finally:
        pdf.close()
    warnings = _warnings(scans, has_ocr=ocr is not None)
    if not chars:
        raise Unreadable(f"{warnings[0][0].upper()}{warnings[0][1:]}" if warnings else "It has no text on any page.")
    out = Pieces(bounds.chars)
    _write(pages, out)
    return ExtractedText(out.text(), PDF.mime_type, out.strategy("default"), title or None, warnings)


def _opened(content: bytes) -> Any:
    try:
        return pdfium.PdfDocument(content)
    except pdfium.PdfiumError as error:
        if error.err_code == pdfium_c.FPDF_ERR_PASSWORD:
            raise Unreadable("It is protected by a password: send it without one.") from error
        raise Unreadable("It is damaged, or not a PDF: it cannot be opened.") from error


def _read_page(pdf: Any, index: int, ocr: Ocr | None) -> tuple[list[_Line], bool]:
    """The lines of a page, and whether it is a picture that was not read."""
    page = pdf[index]
    try:
        textpage = page.get_textpage()
        try:
            lines = list(_lines(textpage))
        finally:
            textpage.close()
        if lines or not any(page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE])):
            return lines, False
        text = ocr(_picture(page)) if ocr is not None else ""
        lines = list(_lines_of_picture(text))
        return lines, not lines
    finally:
        page.close()


def _lines(textpage: Any) -> Iterator[_Line]:
    """The lines of a page from top to bottom, as the library puts them in order."""
    text = textpage.get_text_range()
    is_placed = len(text) == textpage.count_chars()  # else a letter's number is not its place in the text
    start, bottom = 0, None
    for line in text.split("\r\n"):
        if line.strip():
            first = start + len(line) - len(line.lstrip())
            _, low, _, high = textpage.get_charbox(first, loose=True) if is_placed else (0, 0, 0, 0)
            size = high - low
            gap = (bottom - high) / size if bottom is not None and size > 0 else 0.0
            if gap < -_LINES_BACK:
                gap = 1.0  # at the top of the next column
            yield _Line(tuple(_cells(textpage, line, start, size)), size, gap)
            bottom = low
        start += len(line) + 2


def _cells(textpage: Any, line: str, start: int, size: float) -> Iterator[_Cell]:
    """The line, cut where the white between two words is wider than a line is high."""
    if size <= 0:
        yield _Cell(_plain(line))
        return
    begin = len(line) - len(line.lstrip())
    end = len(line.rstrip())
    left = textpage.get_charbox(start + begin)[0]
    for at in range(begin + 1, end - 1):
        if line[at] == " " and line[at - 1] != " " and line[at + 1] != " ":
            right, following = textpage.get_charbox(start + at - 1)[2], textpage.get_charbox(start + at + 1)[0]
            if following - right > _CELL_GAP * size:
                yield _Cell(_plain(line[begin:at]), left, right)
                begin, left = at + 1, following
    yield _Cell(_plain(line[begin:end]), left, textpage.get_charbox(start + end - 1)[2])


def _plain(cell: str) -> str:
    return one_line(_HYPHENS.sub("", cell))


def _lines_of_picture(text: str) -> Iterator[_Line]:
    """Of no size: what is large in a picture is not known."""
    gap = 0.0
    for line in text.splitlines():
        if line.strip():
            yield _Line((_Cell(one_line(line)),), 0, gap)
        gap = 0.0 if line.strip() else 1.0


def _picture(page: Any) -> bytes:
    """A page as a grey picture, PGM."""
    width, height = page.get_size()
    scale = min(_OCR_SCALE, (_MOST_OCR_PIXELS / max(width * height, 1)) ** 0.5)
    bitmap = page.render(scale=scale, grayscale=True)
    try:
        pixels = bytes(bitmap.buffer)
        rows = (pixels[row * bitmap.stride : row * bitmap.stride + bitmap.width] for row in range(bitmap.height))
        return b"P5 %d %d 255\n" % (bitmap.width, bitmap.height) + b"".join(rows)
    finally:
        bitmap.close()


def _write(pages: Sequence[Sequence[_Line]], out: Pieces) -> None:
    levels = _heading_sizes([line for lines in pages for line in lines])
    for number, lines in enumerate(pages):
        if number:
            out.add_page_break()
        for level, some in groupby(lines, key=lambda line: _level(line, levels)):
            if level:
                _write_headings(list(some), level, out)
            else:
                _write_body(list(some), out)


def _heading_sizes(lines: Sequence[_Line]) -> list[float]:
    """The sizes that are larger than the one that most letters have, the largest first."""
    letters: Counter[float] = Counter()
    for line in lines:
        letters[_rounded(line.size)] += len(line.text)
    usual = letters.most_common(1)[0][0]
    return sorted((size for size in letters if size > usual * _HEADING_SIZE), reverse=True)


def _level(line: _Line, sizes: Sequence[float]) -> int:
    size = _rounded(line.size)
    is_heading = size in sizes and len(line.text) <= _LONGEST_HEADING and any(map(str.isalpha, line.text))
    return min(sizes.index(size) + 1, 6) if is_heading else 0


def _rounded(size: float) -> float:
    return round(size * 2) / 2


def _write_headings(lines: Sequence[_Line], level: int, out: Pieces) -> None:
    """Lines of one size that stand close together are one heading."""
    title = lines[0].text
    for line in lines[1:]:
        if line.gap > _PARAGRAPH_GAP:
            out.add_heading(level, title)
            title = line.text
        else:
            title = f"{title} {line.text}"
    out.add_heading(level, title)


def _write_body(lines: Sequence[_Line], out: Pieces) -> None:
    prose: list[_Line] = []
    for columns, group in groupby(lines, key=lambda line: len(line.cells)):
        some = list(group)
        if columns > 1 and columns * len(some) > 4 and _stand_in_columns(some):
            _write_paragraphs(prose, out)
            prose = []
            out.add_table([cell.text for cell in line.cells] for line in some)
        else:
            prose += some
    _write_paragraphs(prose, out)


def _stand_in_columns(lines: Sequence[_Line]) -> bool:
    """Do the cells begin below each other, or end so? Of two columns the second one has to begin so: justified words
    of a narrow column end below each other too.
    """
    near = lines[0].size / 2
    _, *others = zip(*(line.cells for line in lines), strict=True)
    for column in others:
        lefts, rights = [cell.left for cell in column], [cell.right for cell in column]
        begin_so, end_so = max(lefts) - min(lefts) < near, max(rights) - min(rights) < near
        if not begin_so and (len(others) == 1 or not end_so):
            return False
    return True


def _write_paragraphs(lines: Sequence[_Line], out: Pieces) -> None:
    paragraph = ""
    for line in lines:
        if line.gap > _PARAGRAPH_GAP:
            out.add(without_page_marks(paragraph))
            paragraph = ""
        paragraph = f"{paragraph}\n{line.text}"
    out.add(without_page_marks(paragraph))


def _warnings(scans: Sequence[int], *, has_ocr: bool) -> tuple[str, ...]:
    if not scans:
        return ()
    are = "are scans" if len(scans) > 1 else "is a scan"
    why = "OCR found no text on it" if has_ocr else "OCR is off"
    return (f"{numbers(scans)} {are} without text: {why}.",)
