"""Strategies that ignore headings: sentences, and the turns of a conversation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from text.chunkers.base import Segment, Source, units_of
from text.chunkers.borders import PROSE, full_stops, lines, paragraphs, sentences
from text.chunkers.tables import Table, is_long, table_segments, tables_in

_TIME = r"\d{1,2}:\d{2}(?::\d{2})?(?:[ \t]?[AaPp][Mm])?"
_SPEAKER = re.compile(
    rf"(?:\A|(?<=[\r\n]))[ \t]*+(?:\[[^\]\r\n]{{1,40}}\]|\(?{_TIME}\)?)?[ \t]*+(?:[-\u2013][ \t]+)?"
    r"\*{0,2}[^\W\d_][\w .'\u2019-]{0,40}(?:\([^)\r\n]{1,40}\))?\*{0,2}:\*{0,2}(?=\s)"
)


def by_sentence(source: Source) -> Iterator[Segment]:
    for start, end, table in _around_tables(source):
        if table is not None:
            yield from table_segments(source, table)
        else:
            yield Segment(units_of(source, sentences(source.text, start, end), (full_stops,)))


def conversation(source: Source) -> Iterator[Segment]:
    """Keeps turns whole. One begins with ``Name:``, ``[12:03] Name:`` or ``12:03 Name:``, else after a blank line."""
    text = source.text
    has_turns = _SPEAKER.search(text) is not None
    for start, end, table in _around_tables(source):
        if table is not None:
            yield from table_segments(source, table)
        elif has_turns:
            begins = [speaker.start() for speaker in _SPEAKER.finditer(text, start, end)]
            turns = zip([start, *begins], [*begins, end], strict=True)
            yield Segment(units_of(source, turns, (paragraphs, *PROSE)))
        else:
            yield Segment(units_of(source, paragraphs(text, start, end), PROSE))


def _around_tables(source: Source) -> Iterator[tuple[int, int, Table | None]]:
    """Yields the text as stretches: the tables that do not fit a chunk, and the text between them."""
    begin, all_lines = 0, list(lines(source.text, 0, len(source.text)))
    for table, _, _ in tables_in(source.text, all_lines):
        if is_long(source, table):
            yield begin, table.start, None
            yield table.start, table.end, table
            begin = table.end
    yield begin, len(source.text), None
