"""HTML and the chapters of books: headings, paragraphs, lists, tables and code as the chunkers know them.

One walk over the tree without recursion: pages are nested as deep as somebody likes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.entities import name2codepoint
from typing import Any

from lxml import etree

from errors import Unreadable
from text.extract.base import Bounds, ExtractedText, Pieces, one_line
from text.extract.kinds import HTML
from text.extract.plain import decode

_META_CHARSET = re.compile(rb"<meta[^>]{1,200}charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_ENTITY = re.compile(r"&(\w+);")
_OF_XML = {"amp", "lt", "gt", "quot", "apos"}
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_UNREAD = {"script", "style", "template", "svg", "noscript", "nav", "select", "textarea", "button", "iframe", "object"}
_INLINE = frozenset(
    "a abbr acronym b bdi bdo big br cite code data del dfn em font i img ins kbd label mark math q rp "  # noqa: SIM905
    "rt ruby s samp small span strike strong sub sup time tt u var wbr".split()
)
_MOST_COLUMNS = 100


def read_html(content: bytes, bounds: Bounds, charset: str | None) -> ExtractedText:
    """A page as its headings, paragraphs, lists and tables. Scripts, forms and navigation are left out."""
    said = _META_CHARSET.search(content[:4096])
    text = decode(content, charset=charset or (said.group(1).decode("ascii", "replace") if said else None))
    out = Pieces(bounds.chars)
    title = write_html(text, out)
    return ExtractedText(out.text(), HTML.mime_type, out.strategy("markdown"), title)


def write_html(text: str, out: Pieces) -> str | None:
    """Returns the page's title."""
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    return _write(_tree(text, parser), out)


def write_xhtml(content: bytes, out: Pieces) -> str | None:
    """A chapter of a book. HTML's own parser would take <title/> for the beginning of one."""
    parser = etree.XMLParser(
        encoding="utf-8",
        recover=True,
        resolve_entities=False,
        no_network=True,
        huge_tree=True,
        remove_comments=True,
        remove_pis=True,
    )
    return _write(_tree(_ENTITY.sub(_as_character, decode(content)), parser), out)


def _as_character(found: re.Match[str]) -> str:
    """HTML's named characters, which only its DTD would explain; one that a book defines stays as it is written."""
    name = found.group(1)
    if name in _OF_XML:
        return found.group()
    return chr(name2codepoint[name]) if name in name2codepoint else f"&amp;{name};"


def _tree(text: str, parser: Any) -> etree._Element | None:
    """Raises Unreadable where the parser gave up and would have left the rest out."""
    root: etree._Element | None = etree.fromstring(text.encode(), parser) if text.strip() else None
    if any(each.type_name == "ERR_RESOURCE_LIMIT" for each in parser.error_log):
        raise Unreadable("Its elements are nested deeper than anybody writes by hand: it cannot be read whole.")
    return root


def _write(root: etree._Element | None, out: Pieces) -> str | None:
    if root is None:
        return None
    walk = _Walk(out, _without_tables_inside(root))
    events = etree.iterwalk(root, events=("start", "end"))
    for event, element in events:
        name = _name(element)
        if event == "start" and name in _UNREAD:
            events.skip_subtree()
        elif event == "start":
            walk.enter(name, element)
        else:
            if name not in _UNREAD:
                walk.leave(name, element)
            walk.after(element)
    walk.flush()
    return walk.title


def _without_tables_inside(root: etree._Element) -> set[etree._Element]:
    """Tables of data. One that has tables inside it lays out a page."""
    found: set[etree._Element] = set()
    around: list[etree._Element] = []
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if _name(element) != "table":
            continue
        if event == "start":
            found.difference_update(around[-1:])
            around.append(element)
            found.add(element)
        else:
            around.pop()
    return found


@dataclass(slots=True)
class _Walk:
    """What was read of the block at hand, and where in lists and tables it stands."""

    out: Pieces
    tables: set[etree._Element]
    title: str | None = None
    _inline: list[str] = field(default_factory=list)
    _lists: list[str] = field(default_factory=list)
    _items: list[str] = field(default_factory=list)
    _bullet: str = ""
    _rows: list[list[str]] | None = None
    _cell: int | None = None

    def enter(self, name: str, element: etree._Element) -> None:
        if name not in _INLINE:
            self.flush()
        if name == "br":
            self._inline.append("\n")
        elif name == "img":
            self._inline.append(f" {element.get('alt') or ''} ")
        elif name in ("ul", "ol"):
            self._lists.append(name)
        elif name == "li":
            self._bullet = "1. " if self._lists[-1:] == ["ol"] else "- "
        elif element in self.tables:
            self._rows, self._cell = [], None
        elif self._rows is not None:
            self._enter_row(self._rows, name, element)
        self._inline.append(element.text or "")

    def leave(self, name: str, element: etree._Element) -> None:
        self._leave_block(name)
        if name in ("td", "th"):
            self._cell = None
        elif name in ("ul", "ol") and self._lists:
            self._lists.pop()
            if not self._lists:
                self._put_items()
        elif element in self.tables and self._rows is not None:
            rows, self._rows = self._rows, None
            self._put_items()
            self.out.add_table(rows)

    def after(self, element: etree._Element) -> None:
        self._inline.append(element.tail or "")

    def flush(self) -> None:
        """The end of a block: a paragraph, an item of a list, or a part of a cell."""
        text = one_line(self._taken())
        if not text:
            return
        if self._rows is not None and self._cell is not None:
            row = self._rows[-1]
            row[self._cell] = f"{row[self._cell]} {text}".strip()
        elif self._lists and self._rows is None:
            self._items.append(f"{'  ' * (len(self._lists) - 1)}{self._bullet or '  '}{text}")
            self._bullet = ""
        else:
            self.out.add(text)

    def _leave_block(self, name: str) -> None:
        if name == "title":
            self.title = self.title or one_line(self._taken()) or None
        elif name in _HEADINGS and self._rows is None:
            self._put_items()
            self.out.add_heading(_HEADINGS[name], self._taken())
        elif name == "pre" and self._rows is None:
            self._put_code(self._taken())
        elif name not in _INLINE:
            self.flush()

    def _taken(self) -> str:
        text = "".join(self._inline)
        self._inline.clear()
        return text

    def _enter_row(self, rows: list[list[str]], name: str, element: etree._Element) -> None:
        """A wide cell has its text in its first column."""
        if name == "tr" or (name in ("td", "th") and not rows):
            rows.append([])
        if name in ("td", "th"):
            span = element.get("colspan", "1")
            width = int(span) if span.isascii() and span.isdigit() and len(span) < 4 else 1
            self._cell = len(rows[-1])
            rows[-1] += [""] * min(max(width, 1), _MOST_COLUMNS)

    def _put_code(self, code: str) -> None:
        self._put_items()
        code, fence = code.strip("\r\n"), "````" if "```" in code else "```"
        if code.strip():
            self.out.add(f"{fence}\n{code}\n{fence}")

    def _put_items(self) -> None:
        self.out.add("\n".join(self._items))
        self._items.clear()


def _name(element: etree._Element) -> str:
    tag = element.tag
    return tag.rpartition("}")[2].lower() if isinstance(tag, str) else ""
