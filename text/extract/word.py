"""Word files: headings, paragraphs, lists, tables and notes, with Word's own page breaks."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from text.extract.base import Bounds, ExtractedText, TextBuilder, check_pages, one_line, without_page_marks
from text.extract.drawings import write_graphics
from text.extract.formulas import linear, lowered, raised
from text.extract.kinds import DOCX, HTML, RTF, TEXT, kind_of
from text.extract.markup import write_html
from text.extract.numbering import BULLET, W, WordNumbers
from text.extract.packages import Package, R, open_package
from text.extract.plain import declared_in_markup, decoded
from text.extract.tables import MAX_COLUMNS, Grid

_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_P, _TABLE, _ROW, _CELL, _ALT = (f"{W}{name}" for name in ("p", "tbl", "tr", "tc", "altChunk"))
_WRAPPERS = tuple(f"{W}{name}" for name in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag"))
_WRAPPERS += (f"{_MC}AlternateContent", f"{_MC}Choice", f"{_MC}Fallback")
_HIDDEN = {f"{W}{name}" for name in ("del", "moveFrom", "rPr", "pPr", "instrText", "delText", "rt", "sdtPr")}
_SPACES = {f"{W}tab": "\t", f"{W}ptab": "\t", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "-"}
_DRAWINGS = {f"{W}drawing", f"{W}pict", f"{W}object"}
_LAID_OUT_BREAK = f"{W}lastRenderedPageBreak"
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_NOTES = ("footnotes", "endnotes")
_MAX_STYLE_DEPTH = 10


def read_docx(content: bytes, bounds: Bounds) -> ExtractedText:
    """Reads a Word file. Its pages are those of Word's last layout, else they end at manual page breaks.

    Tracked insertions are text, tracked deletions are not. Headers, footers and comments are omitted, unless the file
    has no other text.
    """
    package = open_package(content, bounds)
    root = package.xml(package.main)
    breaks = _page_breaks(root)
    check_pages(1 + len(breaks), bounds)
    writer = _DocxWriter(package, TextBuilder(bounds.chars), breaks)
    for body in root.iter(f"{W}body"):
        writer.write(body)
    for kind in _NOTES:
        writer.write_notes(kind)
    writer.write_omitted_parts()
    return writer.out.extracted(DOCX.mime_type, "markdown", package.title() or writer.title)


@dataclass(slots=True)
class _ParagraphText:
    """The text of a paragraph, and the drawings anchored in it."""

    parts: list[str] = field(default_factory=list)
    drawings: list[Any] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts)


class _DocxWriter:
    def __init__(self, package: Package, out: TextBuilder, breaks: Collection[Any]) -> None:
        self.out = out
        self.title: str | None = None
        self._package = package
        self._breaks = breaks
        styles = self._related("styles")
        self._levels = _heading_levels(styles) if styles is not None else {}
        self._numbers = WordNumbers(self._related("numbering"), styles)

    def write(self, body: Any) -> None:
        for block in _below(body, _P, _TABLE, _ALT):
            if block.tag == _TABLE:
                drawings: list[Any] = []
                self.out.add_table(_grid(block, drawings).texts())
                self._write_drawings(drawings)
            elif block.tag == _ALT:
                self._write_foreign(block)
            else:
                self._write_paragraph(block)

    def write_notes(self, kind: str) -> None:
        root = self._related(kind)
        for note in root if root is not None else ():
            if note.get(f"{W}type") is None:  # others are separators
                self.out.add(_text_below(note, []))

    def write_omitted_parts(self) -> None:
        """Warns of comments; reads them, headers and footers if the file has no other text."""
        comments = self._related("comments")
        is_blank = self.out.chars == 0
        if comments is not None and len(comments):
            if is_blank:
                self.write_notes("comments")
            else:
                message = f"{len(comments)} comments are not read."
                self.out.warn("comments_left_out", message.replace("1 comments are", "1 comment is"))
        for kind in ("header", "footer") if is_blank else ():
            for part in self._package.related(self._package.main, kind):
                root = self._package.xml(part)
                self.write(root if root is not None else ())

    def _related(self, kind: str) -> Any:
        roots = (self._package.xml(part) for part in self._package.related(self._package.main, kind))
        return next((root for root in roots if root is not None), None)

    def _write_paragraph(self, paragraph: Any) -> None:
        """Writes a paragraph, split at page breaks; its text boxes follow it."""
        line = _line(paragraph, self._breaks)
        before, *after = line.text.split("\f")
        self._write_piece(paragraph, before, is_first=True)
        for piece in after:
            self.out.add_page_break()
            self._write_piece(paragraph, piece, is_first=not before.strip())
            before += piece
        self._write_drawings(line.drawings)

    def _write_piece(self, paragraph: Any, text: str, *, is_first: bool) -> None:
        text = without_page_marks(text).strip()
        if not text:
            return
        named = paragraph.find(f"{W}pPr/{W}pStyle")
        style = named.get(f"{W}val") if named is not None else None
        label = self._numbers.label(paragraph, style) if is_first else None
        level = self._levels.get(style, 0)
        if level:
            self.title = self.title or one_line(text) or None
            self.out.add_heading(level, f"{label} {text}" if label and label != BULLET else text)
        else:
            self.out.add(f"{label} {text}" if label else text)

    def _write_drawings(self, drawings: list[Any]) -> None:
        for drawing in drawings:
            for box in _outermost(drawing, f"{W}txbxContent"):
                self.write(box)
            write_graphics(self._package, self._package.main, drawing, self.out)

    def _write_foreign(self, chunk: Any) -> None:
        """Writes an embedded file of another kind."""
        relation = self._package.relations(self._package.main).get(chunk.get(f"{R}id", ""))
        content = self._package.read(relation.target) if relation is not None else b""
        kind = kind_of(content, relation.target) if relation is not None and content else RTF
        if kind not in (HTML, TEXT):
            part = relation.target if relation is not None else None
            self.out.warn("part_not_read", f"A part of it is {kind.name}, which is not read there.", part=part)
            return
        html_or_text = decoded(content, declared_in_markup(content))
        if kind is HTML:
            write_html(html_or_text.text, self.out)
        else:
            self.out.add(html_or_text.text)


def _heading_levels(styles: Any) -> dict[str | None, int]:
    by_id = {style.get(f"{W}styleId"): style for style in styles.iter(f"{W}style")}
    return {name: _level(style, by_id) for name, style in by_id.items()}


def _level(style: Any, by_id: dict[str | None, Any]) -> int:
    """Returns 1 to 9 for a heading style, or one based on it; 0 for others."""
    for _ in range(_MAX_STYLE_DEPTH):
        if style is None:
            break
        name = _value(style, "name") or ""
        heading = _HEADING.fullmatch(name)
        if heading or name == "Title":
            return int(heading.group(1)) if heading else 1
        style = by_id.get(_value(style, "basedOn"))
    return 0


def _page_breaks(body: Any) -> set[Any]:
    """Returns the breaks that Word rendered; other programs record none, so then the manual ones."""
    laid_out = set(body.iter(_LAID_OUT_BREAK))
    return laid_out or {br for br in body.iter(f"{W}br") if br.get(f"{W}type") == "page"}


def _below(parent: Any, *tags: str) -> Iterator[Any]:
    """Yields the elements with those tags in *parent*, content controls and insertions, but none inside another."""
    for child in parent:
        if child.tag in tags:
            yield child
        elif child.tag in _WRAPPERS:
            yield from _below(child, *tags)


def _outermost(parent: Any, tag: str) -> Iterator[Any]:
    for child in parent:
        if child.tag == tag:
            yield child
        else:
            yield from _outermost(child, tag)


def _grid(table: Any, drawings: list[Any]) -> Grid:
    grid = Grid()
    for row in _below(table, _ROW):
        if row.find(f"{W}trPr/{W}del") is not None:
            continue
        grid.begin_row()
        grid.skip(_count(row.find(f"{W}trPr"), "gridBefore", 0))
        for cell in _below(row, _CELL):
            properties = cell.find(f"{W}tcPr")
            wide = _count(properties, "gridSpan", 1)
            if _is_merged(properties, "vMerge"):
                grid.continue_cell(columns=wide)
            else:
                grid.add_cell("" if _is_merged(properties, "hMerge") else _text_below(cell, drawings), columns=wide)
    return grid


def _is_merged(properties: Any, name: str) -> bool:
    """Is the cell merged into the one above it, or the one on its left?"""
    merge = properties.find(f"{W}{name}") if properties is not None else None
    return merge is not None and merge.get(f"{W}val", "continue") == "continue"


def _count(properties: Any, name: str, otherwise: int) -> int:
    value = _value(properties, name) or ""
    return min(int(value), MAX_COLUMNS) if value.isascii() and value.isdigit() else otherwise


def _value(parent: Any, name: str) -> str | None:
    child = parent.find(f"{W}{name}") if parent is not None else None
    return child.get(f"{W}val") if child is not None else None


def _text_below(parent: Any, drawings: list[Any]) -> str:
    """Returns the text of a cell or a note on one line; a nested table is flattened."""
    parts = []
    for block in _below(parent, _P, _TABLE):
        if block.tag == _P:
            line = _line(block)
            parts.append(line.text)
            drawings += line.drawings
        else:
            parts += [cell for row in _grid(block, drawings).texts() for cell in row]
    return one_line(" ".join(parts))


def _line(paragraph: Any, breaks: Collection[Any] = ()) -> _ParagraphText:
    """Reads a paragraph, with a form feed for each of *breaks*."""
    line = _ParagraphText()
    _read_inline(paragraph, breaks, line)
    return line


def _read_inline(parent: Any, breaks: Collection[Any], line: _ParagraphText) -> None:
    for node in parent:
        tag = node.tag
        if tag == f"{W}t":
            line.parts.append(node.text or "")
        elif tag == f"{W}r":
            _read_run(node, breaks, line)
        elif tag in _SPACES or tag == _LAID_OUT_BREAK:
            line.parts.append("\f" if node in breaks else _SPACES.get(tag, ""))
        elif tag == f"{_M}oMath":
            line.parts.append(linear(node))
        elif tag in _DRAWINGS:
            line.drawings.append(node)
            line.parts.append(" " if next(node.iter(f"{W}txbxContent"), None) is not None else "")
        elif tag not in _HIDDEN:
            _read_inline(node, breaks, line)


def _read_run(run: Any, breaks: Collection[Any], line: _ParagraphText) -> None:
    begin = len(line.parts)
    _read_inline(run, breaks, line)
    shift = _value(run.find(f"{W}rPr"), "vertAlign")
    if shift in ("superscript", "subscript"):
        text = "".join(line.parts[begin:])
        before = line.parts[begin - 1] if begin else ""
        line.parts[begin:] = [raised(text, before) if shift == "superscript" else lowered(text)]
