"""Markdown and HTML tables within a text: their headers and rows, and segments of rows under a repeated header."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from text.chunkers.base import CHARS_PER_TOKEN, Segment, Source, units_of
from text.chunkers.borders import BLANK_LINE, PROSE, lines
from text.chunkers.stretches import Stretch, trimmed

_RULE = re.compile(r"\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?\Z")
_CELL = re.compile(r"(?<!\\)\|")
_HTML_TABLE = re.compile(r"[ \t]*<table\b", re.IGNORECASE)
_HTML_NEXT = re.compile(r"</table\s*>|<table\b", re.IGNORECASE)
_HTML_ROW_END = re.compile(r"</tr\s*>", re.IGNORECASE)
_HTML_HEAD_END = re.compile(r"</thead\s*>", re.IGNORECASE)
_HTML_CELL = re.compile(r"<(t[dh])\b", re.IGNORECASE)
_MAX_TITLE_ROWS = 4
_NUMERIC = re.compile(r"[-+]?[.,\s%]*+\d[\d.,\s%]*+")
_IN_BRACKETS = re.compile(r"\([^()]{1,12}\)|\[[^\[\]]{1,12}\]")
_UNIT_NAMES = (
    "mm cm dm m km in ft yd mi mm² cm² m² km² m2 m3 m³ cm³ ha l ml dl hl g kg mg µg t lb oz s ms min h d a °c °f k pa "
    "hpa kpa mpa bar psi n nm j kj mj wh kwh mwh gwh w kw mw gw v kv mv a ma ah hz khz mhz ghz mol mmol % ‰ ppm pcs "
    "stk stück st eur usd gbp chf jpy € $ £ ¥ db lx lm cd byte kb mb gb tb kib mib gib bit rpm"
)
_UNITS = frozenset(_UNIT_NAMES.split())


@dataclass(frozen=True, slots=True)
class Table:
    """*headers* are the alternatives for a repeated header, best first; *rows* follow the header.

    A title may stand between *start* and the header.
    """

    start: int
    headers: tuple[Stretch, ...]
    rows: list[Stretch]

    @property
    def end(self) -> int:
        return self.rows[-1][1] if self.rows else self.headers[0][1]


def is_long(source: Source, table: Table) -> bool:
    """Does it not fit a chunk?"""
    length = table.end - table.start
    limit = (source.max_tokens + 1) * CHARS_PER_TOKEN
    return length >= limit or source.weight(table.start, table.end) > source.max_tokens


def table_segments(
    source: Source, table: Table, *, lead: int | None = None, section: tuple[str, ...] = ()
) -> Iterator[Segment]:
    """Yields the table's rows under its header: in place in the first chunk, repeated in the others.

    *lead* is the offset of a heading that belongs to the table. A header that would fill more than half of a chunk is
    treated as a row.
    """
    start = table.start if lead is None else lead
    header = _repeatable(source, table)
    if header is None:
        stretches = [(start, table.headers[0][1]), *table.rows]
        yield Segment(units_of(source, stretches, (lines, *PROSE)), section, whole_overlap=True)
        return
    prefix = source.text[slice(*header)] + "\n"
    room = source.beside(prefix)
    first, *more = units_of(room, table.rows, (lines, *PROSE))
    before = trimmed(source.text, start, header[0])
    weight = first.weight + (source.weight(*before) if before[0] < before[1] else 0)
    if weight > room.max_tokens:
        yield Segment(units_of(source, [before], (lines, *PROSE)), section, whole_overlap=True)
        start, weight = header[0], first.weight
    yield Segment([replace(first, start=start, weight=weight), *more], section, prefix, header, whole_overlap=True)


def tables_in(text: str, text_lines: Sequence[Stretch]) -> Iterator[tuple[Table, int, int]]:
    """Yields each table with the index of its first line, and of the line after its last."""
    at = 0
    while at < len(text_lines):
        table, stop = table_at(text, text_lines, at)
        if table is not None:
            yield table, at, stop
        at = stop


def table_at(text: str, text_lines: Sequence[Stretch], at: int) -> tuple[Table | None, int]:
    """Returns the table that begins at line *at* and the index of the line after it; without one, None and *at* + 1."""
    if _is_markdown(text, text_lines, at):
        stop = at + 2
        while stop < len(text_lines) and _has_bar(text, text_lines[stop]) and _follows(text, text_lines, stop):
            stop += 1
        return _markdown(text, text_lines[at:stop]), stop
    end = _html_end(text, text_lines, at)
    if end is None:
        return None, at + 1
    stop = next(number for number in range(at, len(text_lines)) if text_lines[number][1] >= end) + 1
    return _html(text, text_lines[at][0], text_lines[stop - 1][1]), stop


def begins_table(text: str, text_lines: Sequence[Stretch], at: int) -> bool:
    return _is_markdown(text, text_lines, at) or _HTML_TABLE.match(text, *text_lines[at]) is not None


def is_header(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return len(filled) > 1 and not any(map(_NUMERIC.fullmatch, filled))


def is_title(cells: Sequence[str]) -> bool:
    return sum(map(bool, cells)) <= 1


def are_units(cells: Sequence[str]) -> bool:
    """Is it a row of units of measurement?"""
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(map(_is_unit, filled))


def _is_unit(cell: str) -> bool:
    if _IN_BRACKETS.fullmatch(cell):
        return True
    parts = [part.strip().casefold() for part in cell.split("/")]
    return parts != ["n", "a"] and all(part in _UNITS for part in parts)


def _repeatable(source: Source, table: Table) -> Stretch | None:
    for header in table.headers if table.rows else ():
        if source.weight(*header) * 2 < source.max_tokens:
            return header
    return None


def _is_markdown(text: str, text_lines: Sequence[Stretch], at: int) -> bool:
    if at + 1 >= len(text_lines) or not _follows(text, text_lines, at + 1):
        return False
    head, rule = text_lines[at], text_lines[at + 1]
    return _has_bar(text, head) and _has_bar(text, rule) and bool(_RULE.match(text, *rule))


def _has_bar(text: str, row: Stretch) -> bool:
    return text.find("|", *row) >= 0


def _follows(text: str, text_lines: Sequence[Stretch], at: int) -> bool:
    """Is there no blank line before it?"""
    return BLANK_LINE.search(text, text_lines[at - 1][1], text_lines[at][0]) is None


def _html_end(text: str, text_lines: Sequence[Stretch], at: int) -> int | None:
    """Returns where the table that begins at line *at* is closed. A table that contains another is treated as text."""
    begin = _HTML_TABLE.match(text, *text_lines[at])
    after = _HTML_NEXT.search(text, begin.end(), text_lines[-1][1]) if begin else None
    return after.end() if after and after.group().startswith("</") else None


def _markdown(text: str, rows: Sequence[Stretch]) -> Table:
    """Parses a row with a bar, the rule below it, and further rows. The row above the rule may be a title."""
    cells = [_cells(text, row) for row in rows[: _MAX_TITLE_ROWS + 3]]
    last = 1
    if is_title(cells[0]) and len(cells[0]) > 1:
        last = next((at for at in range(2, len(cells)) if not is_title(cells[at])), 1)
        last = last if is_header(cells[last]) else 1
    behind_rule = last
    if last + 1 < len(cells) and are_units(cells[last + 1]):
        last += 1
    headers = [(rows[0][0], rows[last][1])]
    if behind_rule > 1:
        headers.append((rows[behind_rule][0], rows[last][1]))
    return Table(rows[0][0], tuple(headers), list(rows[last + 1 :]))


def _cells(text: str, row: Stretch) -> list[str]:
    inside = text[slice(*row)].strip()
    inside = inside[inside.startswith("|") : len(inside) - inside.endswith("|")]
    return [cell.strip() for cell in _CELL.split(inside)]


def _html(text: str, start: int, end: int) -> Table:
    """Parses an HTML table. Its header is its thead, else its leading rows of th, else its first row."""
    ends = [match.end() for match in _HTML_ROW_END.finditer(text, start, end)]
    head = _HTML_HEAD_END.search(text, start, end)
    borders = [head.end(), *(at for at in ends if at > head.end())] if head else _behind_th(text, start, ends)
    if not borders:
        return Table(start, ((start, end),), [])
    stretches = zip(borders, [*borders[1:-1], end], strict=False)
    rows = [row for row in (trimmed(text, *stretch) for stretch in stretches) if row[0] < row[1]]
    return Table(start, (trimmed(text, start, borders[0]),), rows)


def _behind_th(text: str, start: int, ends: Sequence[int]) -> list[int]:
    """Returns the ends of rows, from the end of the header on."""
    begin = start
    for number, stop in enumerate(ends):
        if {kind.casefold() for kind in _HTML_CELL.findall(text, begin, stop)} != {"th"}:
            return list(ends[max(number - 1, 0) :])
        begin = stop
    return list(ends)
