"""Tables: rows stay whole, and every chunk begins with the header, so that its cells can be understood.

Two kinds: a document with markdown tables (what stands around them is chunked as markdown), and a document
that is one table of separated values (comma, semicolon, tab or bar), where a quoted cell may hold line breaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from text.chunkers.base import Run, Source, units_of
from text.chunkers.borders import PROSE, Stretch, lines
from text.chunkers.structure import Path, sections, titles

_RULE = re.compile(r"\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?\Z")
_QUOTED = re.compile(r'(?:^|(?<=[,;\t|]))"(?:[^"]|"")*+"(?=[,;\t|]|$)')
_OPEN_QUOTE = re.compile(r'(?:^|[,;\t|])"')
_SEPARATOR = re.compile(r"[,;\t|]")
_LONGEST_ROW_LINES = 100
"""A quote that nothing closes makes one row of that many lines at most, not of the rest of the document."""


def table(source: Source) -> Iterator[Run]:
    rows = list(lines(source.text, 0, len(source.text)))
    tables = list(_markdown_tables(source.text, rows))
    if not tables:
        yield _separated(source, list(_records(source.text, rows)))
        return
    around = 0
    path: Path = ()
    for first, stop in tables:
        path = yield from sections(source, [(around, rows[first][0])], plain_headings=False, path=path)
        yield _run(source, (rows[first][0], rows[first + 1][1]), rows[first + 2 : stop], titles(path))
        around = rows[stop - 1][1]
    yield from sections(source, [(around, len(source.text))], plain_headings=False, path=path)


def _separated(source: Source, records: list[Stretch]) -> Run:
    if records and _SEPARATOR.search(source.text, *records[0]):
        return _run(source, records[0], records[1:])
    return Run(units_of(source, records, (lines, *PROSE)), whole_overlap=True)


def _run(source: Source, header: Stretch, rows: list[Stretch], section: tuple[str, ...] = ()) -> Run:
    """A header that is alone, or would take more than half of each chunk, is a row like the others."""
    prefix = source.text[slice(*header)] + "\n"
    if not rows or source.weight(header[0], rows[0][0]) * 2 > source.max_tokens:
        prefix, rows = "", [header, *rows]
    return Run(units_of(source.beside(prefix), rows, (lines, *PROSE)), section, prefix, whole_overlap=True)


def _markdown_tables(text: str, rows: list[Stretch]) -> Iterator[tuple[int, int]]:
    """As ``(first, stop)``: a row with a bar, the rule below it, and the rows with a bar that follow."""
    at = 0
    while at + 1 < len(rows):
        if not (_has_bar(text, rows[at]) and _has_bar(text, rows[at + 1]) and _RULE.match(text, *rows[at + 1])):
            at += 1
            continue
        stop = at + 2
        while stop < len(rows) and _has_bar(text, rows[stop]):
            stop += 1
        yield at, stop
        at = stop


def _has_bar(text: str, row: Stretch) -> bool:
    return text.find("|", *row) >= 0


def _records(text: str, rows: list[Stretch]) -> Iterator[Stretch]:
    """Lines, joined where a quoted cell goes on in the next line."""
    start, count = None, 0
    for first, last in rows:
        start, count = (first, 1) if start is None else (start, count + 1)
        if count == _LONGEST_ROW_LINES or not _OPEN_QUOTE.search(_QUOTED.sub("", text[start:last])):
            yield start, last
            start = None
    if start is not None:
        yield start, rows[-1][1]
