"""Tables: rows stay whole, and every chunk begins with the header, so that its cells can be understood.

There are two kinds: a document with tables in markdown or HTML (the text around them is chunked as markdown), and a
document that is one table of values separated by comma, semicolon, tab or bar, whose quoted cells may contain line
breaks. Anything above its header, such as a title or Excel's ``sep=;``, is in the first chunk only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from text.chunkers.base import Segment, Source, units_of
from text.chunkers.borders import BLANK_LINE, PROSE, lines
from text.chunkers.stretches import Stretch
from text.chunkers.structure import sections
from text.chunkers.tables import Table, are_units, is_header, is_title, table_segments, tables_in

_QUOTED = re.compile(r'(?:^|(?<=[,;\t|]))"(?:[^"]|"")*+"(?=[,;\t|]|$)')
_OPEN_QUOTE = re.compile(r'(?:^|[,;\t|])"')
_SEPARATORS = ",;\t|"
_DECLARED_SEPARATOR = re.compile(r'"?sep=([^"\r\n])"?', re.IGNORECASE)
_LONGEST_ROW_LINES = 100
"""An unclosed quote makes one row of at most this many lines, not of the rest of the document."""
_SAMPLE_RECORDS = 50
_MAX_LINES_ABOVE = 10


def table(source: Source) -> Iterator[Segment]:
    rows = list(lines(source.text, 0, len(source.text)))
    if any(tables_in(source.text, rows)):
        yield from sections(source, [(0, len(source.text))], plain_headings=False, tables_apart=True)
    else:
        yield from _separated(source, list(_records(source.text, rows)))


def uniform_table(text: str, rows: list[Stretch]) -> Table | None:
    """Returns the table of separated values that *text* is, if there is no doubt: all rows have as many cells."""
    records = list(_records(text, rows))
    separator, declared = _separator_of(text, records)
    if not separator:
        return None
    table = _table(text, records, separator, declared=declared)
    header = _cells(text[slice(*table.headers[0])].splitlines()[0], separator)
    widths = {len(_cells(text[slice(*row)], separator)) for row in table.rows}
    return table if is_header(header) and widths == {len(header)} else None


def _separated(source: Source, records: list[Stretch]) -> Iterator[Segment]:
    separator, declared = _separator_of(source.text, records)
    if separator:
        yield from table_segments(source, _table(source.text, records, separator, declared=declared))
    else:
        yield Segment(units_of(source, records, (lines, *PROSE)), whole_overlap=True)


def _separator_of(text: str, records: Sequence[Stretch]) -> tuple[str, bool]:
    """Returns the separator, "" if there is none, and whether the first record declares it."""
    sample = [text[slice(*record)] for record in records[:_SAMPLE_RECORDS]]
    declared = _DECLARED_SEPARATOR.fullmatch(sample[0]) if sample else None
    return (declared.group(1), True) if declared else (_separator(sample), False)


def _table(text: str, records: list[Stretch], separator: str, *, declared: bool) -> Table:
    cells = [_cells(text[slice(*record)], separator) for record in records[:_SAMPLE_RECORDS]]
    first = last = _header(text, records, cells, begin=1 if declared and len(cells) > 1 else 0)
    if last + 1 < len(cells) and are_units(cells[last + 1]):
        last += 1
    return Table(records[0][0], ((records[first][0], records[last][1]),), records[last + 1 :])


def _separator(sample: Sequence[str]) -> str:
    """Returns the separator that splits the most records into the same number of cells; "" if none does."""
    best, rank = "", (0, 0)
    for separator in _SEPARATORS:
        widths = Counter(len(_cells(record, separator)) for record in sample)
        width, count = max(widths.items(), key=lambda each: (each[0] > 1, each[1], each[0]), default=(0, 0))
        if width > 1 and (count, width) > rank:
            best, rank = separator, (count, width)
    return best


def _header(text: str, records: Sequence[Stretch], cells: Sequence[list[str]], *, begin: int) -> int:
    """Returns the index of the record with the column names: the first, unless that is clearly above the table."""
    width = Counter(map(len, cells[begin:])).most_common(1)[0][0]
    for at in range(begin, min(len(cells), begin + _MAX_LINES_ABOVE)):
        if len(cells[at]) == width and not is_title(cells[at]):
            is_apart = all(
                is_title(above) or BLANK_LINE.search(text, records[begin][1], records[at][0])
                for above in cells[begin:at]
            )
            return at if is_apart or (is_header(cells[at]) and _has_numbers(cells[at + 1 :])) else begin
    return begin


def _has_numbers(cells: Sequence[Sequence[str]]) -> bool:
    return bool(cells) and not is_header(cells[0])


def _cells(record: str, separator: str) -> list[str]:
    bare = _QUOTED.sub(lambda quoted: "x" * bool(quoted.group().strip('" ')), record)
    return [cell.strip() for cell in bare.split(separator)]


def _records(text: str, rows: list[Stretch]) -> Iterator[Stretch]:
    """Yields lines, joined where a quoted cell continues in the next line."""
    start, count = None, 0
    for first, last in rows:
        start, count = (first, 1) if start is None else (start, count + 1)
        if count == _LONGEST_ROW_LINES or not _OPEN_QUOTE.search(_QUOTED.sub("", text[start:last])):
            yield start, last
            start = None
    if start is not None:
        yield start, rows[-1][1]
