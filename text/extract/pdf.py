"""PDF: the text of each page, with headings and tables inferred from the layout.

A PDF contains only the positions of characters. Lines larger than most are taken for headings, a wide gap between
lines for the end of a paragraph, and aligned words with wide gaps in adjacent lines for a table.
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
    TextBuilder,
    check_chars,
    check_pages,
    one_line,
    without_page_marks,
)
from text.extract.kinds import PDF
from text.extract.pdf_forms import annotation_lines, has_dynamic_form
from text.extract.pdf_scans import is_picture, picture_of, warn_of_scans

_HEADING_SIZE = 1.15  # times the size of most of the text
_LONGEST_HEADING = 150
_PARAGRAPH_GAP = 0.6  # times a line's height, between lines
_LINES_BACK = 2
_CELL_GAP = 1.0  # times a line's height, between words
_HYPHENS = re.compile("[\x02\ufffe]")  # the library's characters for a hyphen at the end of a line


@dataclass(frozen=True, slots=True)
class _Cell:
    """Adjacent words, from *left* to *right* in points."""

    text: str
    left: float = 0
    right: float = 0


@dataclass(frozen=True, slots=True)
class _Line:
    """*size* is its height in points, *gap* the space above it in line heights; *cells* are separated by wide gaps."""

    cells: tuple[_Cell, ...]
    size: float
    gap: float

    @property
    def text(self) -> str:
        return " ".join(cell.text for cell in self.cells)


@dataclass(frozen=True, slots=True)
class _Page:
    """*is_scan*: it is a picture that was not read by OCR, whatever text is on it."""

    lines: list[_Line]
    notes: list[str]
    is_scan: bool

    @property
    def chars(self) -> int:
        return _count_chars(self.lines) + sum(map(len, self.notes))


def read_pdf(content: bytes, bounds: Bounds, ocr: Ocr | None) -> ExtractedText:
    """Reads the text of all pages, each followed by its form fields and notes. Scanned pages are read by *ocr*; without
    it they are warnings.

    Raises Unreadable if the file is encrypted or damaged, or no page has any text.
    """
    out = TextBuilder(bounds.chars)
    pdf = _opened(content)
    try:
        check_pages(len(pdf), bounds)
        pages: list[_Page] = []
        chars = 0
        for index in range(len(pdf)):
            pages.append(_read_page(pdf, index, ocr))
            chars += pages[-1].chars
            check_chars(chars, bounds.chars)
        title = pdf.get_metadata_dict().get("Title", "")
        _warn_of_forms(pdf, out)
    finally:
        pdf.close()
    scans = [(number, not page.lines) for number, page in enumerate(pages, 1) if page.is_scan]
    why = warn_of_scans(scans, out, has_ocr=ocr is not None)
    if not chars:
        raise Unreadable(f"{why[0].upper()}{why[1:]}" if why else "It has no text on any page.")
    _write(pages, out)
    return out.extracted(PDF.mime_type, "default", title)


def _opened(content: bytes) -> Any:
    try:
        pdf = pdfium.PdfDocument(content)
        pdf.init_forms()
        return pdf
    except pdfium.PdfiumError as error:
        if error.err_code == pdfium_c.FPDF_ERR_PASSWORD:
            raise Unreadable("It is protected by a password: send it without one.") from error
        raise Unreadable("It is damaged, or not a PDF: it cannot be opened.") from error


def _read_page(pdf: Any, index: int, ocr: Ocr | None) -> _Page:
    page = pdf[index]
    try:
        textpage = page.get_textpage()
        try:
            lines = list(_lines(textpage))
        finally:
            textpage.close()
        notes = annotation_lines(pdf, page)
        if not is_picture(page, chars=_count_chars(lines)):
            return _Page(lines, notes, is_scan=False)
        read = list(_lines_of_picture(ocr(picture_of(page)))) if ocr is not None else []
        is_read = _count_chars(read) > _count_chars(lines)
        return _Page(read if is_read else lines, notes, is_scan=not is_read)
    finally:
        page.close()


def _count_chars(lines: Sequence[_Line]) -> int:
    return sum(len(cell.text) for line in lines for cell in line.cells)


def _lines(textpage: Any) -> Iterator[_Line]:
    """Yields the lines of a page in the library's order, from top to bottom."""
    text = textpage.get_text_range()
    is_placed = len(text) == textpage.count_chars()  # else a character's index is not its offset in the text
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
    """Cuts the line where the gap between two words is wider than the line is high."""
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
    """Yields the lines of OCR; their size is unknown, so it is 0."""
    gap = 0.0
    for line in text.splitlines():
        if line.strip():
            yield _Line((_Cell(one_line(line)),), 0, gap)
        gap = 0.0 if line.strip() else 1.0


def _write(pages: Sequence[_Page], out: TextBuilder) -> None:
    levels = _heading_sizes([line for page in pages for line in page.lines])
    for number, page in enumerate(pages):
        if number:
            out.add_page_break()
        for level, group in groupby(page.lines, key=lambda line: _level(line, levels)):
            if level:
                _write_headings(list(group), level, out)
            else:
                _write_body(list(group), out)
        out.add(without_page_marks("\n".join(page.notes)))


def _heading_sizes(lines: Sequence[_Line]) -> list[float]:
    """Returns the sizes larger than that of most characters, largest first."""
    letters: Counter[float] = Counter()
    for line in lines:
        letters[_rounded(line.size)] += len(line.text)
    usual = max(letters, key=letters.__getitem__, default=0.0)
    return sorted((size for size in letters if size > usual * _HEADING_SIZE), reverse=True)


def _level(line: _Line, sizes: Sequence[float]) -> int:
    size = _rounded(line.size)
    is_heading = size in sizes and len(line.text) <= _LONGEST_HEADING and any(map(str.isalpha, line.text))
    return min(sizes.index(size) + 1, 6) if is_heading else 0


def _rounded(size: float) -> float:
    return round(size * 2) / 2


def _write_headings(lines: Sequence[_Line], level: int, out: TextBuilder) -> None:
    """Writes headings; adjacent lines of one size are one heading."""
    title = lines[0].text
    for line in lines[1:]:
        if line.gap > _PARAGRAPH_GAP:
            out.add_heading(level, title)
            title = line.text
        else:
            title = f"{title} {line.text}"
    out.add_heading(level, title)


def _write_body(lines: Sequence[_Line], out: TextBuilder) -> None:
    prose: list[_Line] = []
    for columns, group in groupby(lines, key=lambda line: len(line.cells)):
        rows = list(group)
        if columns > 1 and columns * len(rows) > 4 and _are_columns(rows):
            _write_paragraphs(prose, out)
            prose = []
            out.add_table([cell.text for cell in line.cells] for line in rows)
        else:
            prose += rows
    _write_paragraphs(prose, out)


def _are_columns(lines: Sequence[_Line]) -> bool:
    """Are the cells aligned on the left, or on the right? Of two columns, the second has to be aligned on the left: in
    justified text, words are aligned on the right too.
    """
    near = lines[0].size / 2
    _, *columns = zip(*(line.cells for line in lines), strict=True)
    for column in columns:
        lefts, rights = [cell.left for cell in column], [cell.right for cell in column]
        begin_aligned, end_aligned = max(lefts) - min(lefts) < near, max(rights) - min(rights) < near
        if not begin_aligned and (len(columns) == 1 or not end_aligned):
            return False
    return True


def _write_paragraphs(lines: Sequence[_Line], out: TextBuilder) -> None:
    paragraph = ""
    for line in lines:
        if line.gap > _PARAGRAPH_GAP:
            out.add(without_page_marks(paragraph))
            paragraph = ""
        paragraph = f"{paragraph}\n{line.text}"
    out.add(without_page_marks(paragraph))


def _warn_of_forms(pdf: Any, out: TextBuilder) -> None:
    if has_dynamic_form(pdf):
        message = "It is a dynamic form (XFA), whose fields are not read. Print it to a PDF and send that."
        out.warn("form_not_read", message)
    for index in range(pdf.count_attachments()):
        name = one_line(pdf.get_attachment(index).get_name())
        out.warn("attachment_not_read", f"The attachment {name!r} is not read: send it by itself.", part=name)
