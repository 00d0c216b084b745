"""HTML and the chapters of books: headings, paragraphs, lists, tables and code in the chunkers' form.

The tree is walked once and without recursion: pages may be nested to any depth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.entities import name2codepoint
from typing import Any

from lxml import etree

from errors import Unreadable
from text.extract.base import Bounds, ExtractedText, TextBuilder, one_line
from text.extract.formulas import linear, lowered, raised
from text.extract.kinds import HTML
from text.extract.numbering import numeral
from text.extract.plain import declared_in_markup, decoded
from text.extract.tables import Cell, Grid

_XHTML = "http://www.w3.org/1999/xhtml"
_XHTML_WINDOW_CHARS = 2000
_ENTITY = re.compile(r"&(\w+);")
_XML_ENTITIES = {"amp", "lt", "gt", "quot", "apos"}
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_UNREAD = {"script", "style", "template", "svg", "noscript", "nav", "select", "textarea", "button", "iframe", "object"}
_UNREAD |= {"rt", "rp", "rtc"}  # ruby's pronunciation is not part of the text
_VOID = "area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr"
_CLOSED_AT_ONCE = re.compile(rf"<(?!(?:{_VOID})\b)([a-z][\w:-]*)((?:\s[^<>]*?)?)/>", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*>")
_INLINE = frozenset(
    "a abbr acronym b bdi bdo big br cite code data del dfn em font i img ins kbd label mark math q rb rp "  # noqa: SIM905
    "rt rtc ruby s samp small span strike strong sub sup time tt u var wbr".split()
)
_LARGEST_NUMBER = 1_000_000


def read_html(content: bytes, bounds: Bounds, charset: str | None) -> ExtractedText:
    """Reads headings, paragraphs, lists and tables of a page. Scripts, forms and navigation are left out."""
    page = decoded(content, charset, declared_in_markup(content))
    out = TextBuilder(bounds.chars)
    out.add_caveats(page.caveats)
    title = write_html(page.text, out)
    return out.extracted(HTML.mime_type, "markdown", title)


def write_html(text: str, out: TextBuilder) -> str | None:
    """Writes a page; returns its title."""
    if _XHTML in text[:_XHTML_WINDOW_CHARS]:
        return write_xhtml(text, out)
    return _write(_tree(text, _html_parser()), out)


def write_xhtml(text: str, out: TextBuilder) -> str | None:
    """Writes a page or chapter, parsed as XML if it is well-formed, else as HTML. The HTML parser loses no text, but
    takes <title/> for a start tag, so such tags are closed first.
    """
    text = _XML_DECLARATION.sub("", text, count=1)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=True, remove_comments=True, remove_pis=True
    )
    try:
        root = _tree(_ENTITY.sub(_as_character, text), parser)
    except etree.XMLSyntaxError:
        root = _tree(_CLOSED_AT_ONCE.sub(r"<\1\2></\1>", text), _html_parser())
    return _write(root, out)


def _html_parser() -> etree.HTMLParser:
    return etree.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)


def _as_character(entity: re.Match[str]) -> str:
    """Replaces HTML's named characters, which only its DTD defines; unknown ones stay as they are written."""
    name = entity.group(1)
    if name in _XML_ENTITIES:
        return entity.group()
    return chr(name2codepoint[name]) if name in name2codepoint else f"&amp;{name};"


def _tree(text: str, parser: Any) -> etree._Element | None:
    """Parses a page. Raises Unreadable if the parser gave up, as it would omit the rest."""
    root: etree._Element | None = etree.fromstring(text.encode(), parser) if text.strip() else None
    if any(each.type_name == "ERR_RESOURCE_LIMIT" for each in parser.error_log):
        raise Unreadable("Its elements are nested deeper than anybody writes by hand: it cannot be read whole.")
    return root


def _write(root: etree._Element | None, out: TextBuilder) -> str | None:
    if root is None:
        return None
    walk = _Walk(out, _innermost_tables(root))
    events = etree.iterwalk(root, events=("start", "end"))
    for event, element in events:
        name = _name(element)
        if event == "start" and name in _UNREAD:
            events.skip_subtree()
        elif event == "start" and name == "math":
            walk.add_formula(element)
            events.skip_subtree()
        elif event == "start":
            walk.enter(name, element)
        else:
            if name not in _UNREAD and name != "math":
                walk.leave(name, element)
            walk.after(element)
    walk.flush()
    return walk.title


def _innermost_tables(root: etree._Element) -> set[etree._Element]:
    """Returns the tables of data. A table that contains tables is used for layout."""
    innermost: set[etree._Element] = set()
    around: list[etree._Element] = []
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if _name(element) != "table":
            continue
        if event == "start":
            innermost.difference_update(around[-1:])
            around.append(element)
            innermost.add(element)
        else:
            around.pop()
    return innermost


@dataclass(slots=True)
class _HtmlList:
    """*form* is the form of its numbers, "" for bullets."""

    form: str = ""
    number: int = 1
    step: int = 1

    def label(self, item: etree._Element) -> str:
        if not self.form:
            return "- "
        number = _integer(item.get("value"), self.number)
        self.number = number + self.step
        return f"{numeral(number, self.form)}. "


@dataclass(slots=True)
class _Walk:
    """The text of the current block, and its position in lists and tables."""

    out: TextBuilder
    tables: set[etree._Element]
    title: str | None = None
    _inline: list[str] = field(default_factory=list)
    _shifted: list[int] = field(default_factory=list)
    _lists: list[_HtmlList] = field(default_factory=list)
    _items: list[str] = field(default_factory=list)
    _bullet: str = ""
    _grid: Grid | None = None
    _cell: Cell | None = None

    def enter(self, name: str, element: etree._Element) -> None:
        if name not in _INLINE:
            self.flush()
        if name == "br":
            self._inline.append("\n")
        elif name == "img":
            self._inline.append(f" {element.get('alt') or ''} ")
        elif name in ("sup", "sub"):
            self._shifted.append(len(self._inline))
        else:
            self._enter_structure(name, element)
        self._inline.append(element.text or "")

    def leave(self, name: str, element: etree._Element) -> None:
        if name in ("sup", "sub"):
            self._shift(name)
            return
        self._leave_block(name)
        if name in ("td", "th"):
            self._cell = None
        elif name in ("thead", "tbody", "tfoot") and self._grid is not None:
            self._grid.end_group()
        elif name in ("ul", "ol") and self._lists:
            self._lists.pop()
            if not self._lists:
                self._put_items()
        elif element in self.tables and self._grid is not None:
            grid, self._grid = self._grid, None
            self._put_items()
            self.out.add_table(grid.texts())

    def after(self, element: etree._Element) -> None:
        self._inline.append(element.tail or "")

    def add_formula(self, element: etree._Element) -> None:
        self._inline.append(linear(element))

    def flush(self) -> None:
        """Ends a block: writes a paragraph, a list item or a part of a cell."""
        text = one_line(self._pop_inline())
        if not text:
            return
        if self._cell is not None:
            self._cell.add(text)
        elif self._lists and self._grid is None:
            self._items.append(f"{'  ' * (len(self._lists) - 1)}{self._bullet or '  '}{text}")
            self._bullet = ""
        else:
            self.out.add(text)

    def _enter_structure(self, name: str, element: etree._Element) -> None:
        if name in ("ul", "ol"):
            self._lists.append(_list(name, element))
        elif name == "li":
            self._bullet = self._lists[-1].label(element) if self._lists else "- "
        elif element in self.tables:
            self._grid, self._cell = Grid(), None
        elif self._grid is not None:
            self._enter_row(self._grid, name, element)

    def _leave_block(self, name: str) -> None:
        if name == "title":
            self.title = self.title or one_line(self._pop_inline()) or None
        elif name in _HEADINGS and self._grid is None:
            self._put_items()
            self.out.add_heading(_HEADINGS[name], self._pop_inline())
        elif name == "pre" and self._grid is None:
            self._put_code(self._pop_inline())
        elif name not in _INLINE:
            self.flush()

    def _shift(self, name: str) -> None:
        """Ends a superscript or subscript: marks its text."""
        begin = min(self._shifted.pop(), len(self._inline)) if self._shifted else len(self._inline)
        text = "".join(self._inline[begin:])
        before = next((each for each in reversed(self._inline[:begin]) if each), "")
        self._inline[begin:] = [raised(text, before) if name == "sup" else lowered(text)]

    def _pop_inline(self) -> str:
        text = "".join(self._inline)
        self._inline.clear()
        return text

    def _enter_row(self, grid: Grid, name: str, element: etree._Element) -> None:
        if name == "tr":
            grid.begin_row()
        elif name in ("td", "th"):
            columns, rows = _integer(element.get("colspan"), 1), _integer(element.get("rowspan"), 1)
            self._cell = grid.add_cell(columns=columns, rows=rows if rows > 0 else _LARGEST_NUMBER)

    def _put_code(self, code: str) -> None:
        self._put_items()
        code, fence = code.strip("\r\n"), "````" if "```" in code else "```"
        if code.strip():
            self.out.add(f"{fence}\n{code}\n{fence}")

    def _put_items(self) -> None:
        self.out.add("\n".join(self._items))
        self._items.clear()


def _list(name: str, element: etree._Element) -> _HtmlList:
    if name == "ul":
        return _HtmlList()
    is_reversed = element.get("reversed") is not None
    first = sum(1 for child in element if _name(child) == "li") if is_reversed else 1
    form = element.get("type") or "decimal"
    return _HtmlList(
        form if form in "aAiI" else "decimal", _integer(element.get("start"), first), -1 if is_reversed else 1
    )


def _integer(text: str | None, otherwise: int) -> int:
    match = re.match(r"\s*(-?\d{1,6})", text or "", re.ASCII)
    return int(match.group(1)) if match else otherwise


def _name(element: etree._Element) -> str:
    tag = element.tag
    return tag.rpartition("}")[2].lower() if isinstance(tag, str) else ""
