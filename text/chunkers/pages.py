"""Finds the pages of a text; the strategy that never crosses one.

A form feed begins the next page. A line of its own that reads ``[page 3]``, ``--- page 3 ---`` or
``=== Page 3 ===`` (any case) begins that page; the line itself is on none. What stands before the first mark is page 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from text.chunkers.base import Segment, Source
from text.chunkers.structure import sections

_MARK = re.compile(
    r"\f|(?:\A|(?<=[\r\n\f]))[ \t]*+(?:\[page[ \t]+(\d{1,6})\]|([-=])\2++[ \t]*+page[ \t]+(\d{1,6})[ \t]*+\2{2,}+)"
    r"[ \t]*+(?=[\r\n\f]|\Z)",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class PageSpan:
    """Page *number* is ``text[start:end]``."""

    start: int
    end: int
    number: int


def pages(text: str) -> list[PageSpan]:
    """Returns the pages in the order of the text; without any mark, a single page with number 1."""
    earlier = []
    start, number = 0, 1
    for mark in _MARK.finditer(text):
        earlier.append(PageSpan(start, mark.start(), number))
        written = mark.group(1) or mark.group(3)
        start, number = mark.end(), int(written) if written else number + 1
    return [*earlier, PageSpan(start, len(text), number)]


def by_page(source: Source) -> Iterator[Segment]:
    stretches = [(page.start, page.end) for page in pages(source.text)]
    yield from sections(source, stretches, plain_headings=True)
