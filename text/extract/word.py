"""Word files: headings, paragraphs, lists, tables and notes, with the pages on which Word laid them out."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from lxml import etree

from text.extract.archives import check_archive
from text.extract.base import Bounds, ExtractedText, Pieces, check_pages, one_line, without_page_marks
from text.extract.kinds import DOCX

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_P, _TABLE, _ROW, _CELL, _T = (f"{_W}{name}" for name in ("p", "tbl", "tr", "tc", "t"))
_WRAPPERS = tuple(f"{_W}{name}" for name in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag"))
_NOT_SHOWN = ("{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback", f"{_W}moveFrom")
_SPACES = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_LAID_OUT_BREAK = f"{_W}lastRenderedPageBreak"
_NUMBERING = f"{_W}pPr/{_W}numPr"
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_NOTES = ("/footnotes", "/endnotes")
_DEEPEST_STYLE = 10
_MOST_COLUMNS = 100


def read_docx(content: bytes, bounds: Bounds) -> ExtractedText:
    """A Word file. Its pages are those that Word laid out when it was saved, else they end at breaks set by hand.

    Text that was inserted under revision counts, deleted text does not; headers and footers are left out.
    """
    from docx import Document

    check_archive(content, bounds, may_have_doctype=False)
    document = Document(io.BytesIO(content))
    body = document.element.body
    etree.strip_elements(body, *_NOT_SHOWN, with_tail=False)
    breaks = _page_breaks(body)
    check_pages(1 + len(breaks), bounds)
    writer = _Writer(Pieces(bounds.chars), document.styles, breaks)
    writer.write(body)
    for relation in document.part.rels.values():
        if relation.reltype.endswith(_NOTES):
            writer.write_notes(relation.target_part.blob)
    title = one_line(document.core_properties.title or "") or writer.title
    return ExtractedText(writer.out.text(), DOCX.mime_type, writer.out.strategy("markdown"), title)


class _Writer:
    def __init__(self, out: Pieces, styles: Iterable[Any], breaks: Collection[Any]) -> None:
        self.out = out
        self.title: str | None = None
        self._levels = {style.style_id: _level(style) for style in styles}
        self._items = {style.style_id for style in styles if style.element.find(_NUMBERING) is not None}
        self._breaks = breaks

    def write(self, body: Any) -> None:
        for block in _below(body, _P, _TABLE):
            if block.tag == _TABLE:
                self.out.add_table(_rows(block))
            else:
                self._write_paragraph(block)

    def write_notes(self, part: bytes) -> None:
        for note in etree.fromstring(part, etree.XMLParser(resolve_entities=False, no_network=True)):
            if note.get(f"{_W}type") is None:  # else it is the line above the notes
                self.out.add(one_line(_text_below(note)))

    def _write_paragraph(self, paragraph: Any) -> None:
        """A paragraph that goes over a border of pages is one on each of them."""
        before, *after = _text(paragraph, self._breaks).split("\f")
        self._write_piece(paragraph, before)
        for piece in after:
            self.out.add_page_break()
            self._write_piece(paragraph, piece)

    def _write_piece(self, paragraph: Any, text: str) -> None:
        text = without_page_marks(text).strip()
        named = paragraph.find(f"{_W}pPr/{_W}pStyle")
        style = named.get(f"{_W}val") if named is not None else None
        level = self._levels.get(style, 0)
        if level:
            self.title = self.title or one_line(text) or None
            self.out.add_heading(level, text)
        elif text:
            is_item = style in self._items or paragraph.find(_NUMBERING) is not None
            self.out.add(f"- {text}" if is_item else text)


def _level(style: Any) -> int:
    """1 to 9 for a style of headings, or one that is based on it; 0 for others."""
    for _ in range(_DEEPEST_STYLE):
        if style is None:
            break
        found = _HEADING.fullmatch(style.name or "")
        if found or style.name == "Title":
            return int(found.group(1)) if found else 1
        style = getattr(style, "base_style", None)
    return 0


def _page_breaks(body: Any) -> set[Any]:
    """Word notes where its pages began; other programs do not, and what somebody set by hand is all there is."""
    laid_out = set(body.iter(_LAID_OUT_BREAK))
    return laid_out or {each for each in body.iter(f"{_W}br") if each.get(f"{_W}type") == "page"}


def _below(parent: Any, *tags: str) -> Iterator[Any]:
    """The elements of those tags in *parent*, in content controls and insertions too, but not in one another."""
    for child in parent:
        if child.tag in tags:
            yield child
        elif child.tag in _WRAPPERS:
            yield from _below(child, *tags)


def _rows(table: Any) -> Iterator[list[str]]:
    """A cell that goes over several columns is followed by empty ones."""
    for row in _below(table, _ROW):
        cells: list[str] = []
        for cell in _below(row, _CELL):
            span = cell.find(f"{_W}tcPr/{_W}gridSpan")
            width = min(int(span.get(f"{_W}val", "1")), _MOST_COLUMNS) if span is not None else 1
            cells += [one_line(_text_below(cell)), *[""] * (width - 1)]
        yield cells


def _text_below(parent: Any) -> str:
    """Of a cell or a note, on one line; a table inside it has no form any more."""
    parts = []
    for block in _below(parent, _P, _TABLE):
        parts.append(_text(block) if block.tag == _P else " ".join(cell for row in _rows(block) for cell in row))
    return " ".join(parts)


def _text(paragraph: Any, breaks: Collection[Any] = ()) -> str:
    """With a form feed for each of *breaks*; text boxes stand where they are anchored."""
    parts = []
    for node in paragraph.iter(_T, _LAID_OUT_BREAK, *_SPACES):
        if node in breaks:
            parts.append("\f")
        else:
            parts.append((node.text or "") if node.tag == _T else _SPACES.get(node.tag, ""))
    return "".join(parts)
