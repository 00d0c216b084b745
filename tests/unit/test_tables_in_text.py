"""What is a table within a text, which of its lines are the header, and which are rows that stay whole."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.prose import count_words
from text.chunkers import chunk
from text.chunkers.base import Segment, Source
from text.chunkers.borders import lines
from text.chunkers.table import table
from text.chunkers.tables import are_units, is_header, is_title, tables_in

CELLS = st.text('ab1,";|\t\n\r ', max_size=12).map("item {}".format)
MAX_TOKENS = 60


def tables(text: str) -> list[tuple[list[str], list[str]]]:
    """The possible headers and the rows of each table."""
    every = tables_in(text, list(lines(text, 0, len(text))))
    return [
        ([text[slice(*header)] for header in each.headers], [text[slice(*row)] for row in each.rows])
        for each, _, _ in every
    ]


def segments(text: str) -> list[Segment]:
    return list(table(Source(text, 1_000, count_words)))


def header_and_rows(text: str) -> tuple[str, list[str]]:
    """Of a document that is one table; the first row is in place under all that stands above it."""
    (segment,) = segments(text)
    return segment.prefix, [text[unit.start : unit.end] for unit in segment.units]


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("| a | b |\n|---|---|", ["| 1 | 2 |", "| 3 | 4 |"]),
        ("a | b\n--- | ---", ["1 | 2"]),
        ("| a | b |\n| :-- | --: |", ["| 1 |"]),
        ("| a |\n|:-:|", ["| 1 |"]),
        ("| a | b |\n|---|---|", []),
        ("| | Weight |\n|---|---|\n| | kg |", ["| Bolt | 3 |"]),
        ("| Part | Speed |\n|---|---|\n| [name] | m/s |", ["| Bolt | 3 |"]),
    ],
)
def test_a_markdown_table_is_a_row_with_a_bar_a_rule_and_the_rows_up_to_a_line_without(
    header: str, rows: list[str]
) -> None:
    alone = "\n".join([header, *rows])
    assert tables(alone)[0][1] == rows
    assert tables(alone)[0][0][0] == header
    assert tables(f"Before it.\n{alone}\nBehind it.\n\n{alone}\n\n| no | rule |") == tables(alone) * 2


@pytest.mark.parametrize(
    "text",
    [
        "a | b\n1 | 2",
        "a | b\n\n--- | ---",
        "a | b\n---",
        "a | b\n: | :",
        "a | b\n--- | --- | x",
        "<table><tr><td>1</td></tr>",
        "<tablet></table>",
        "See <table></table>",
    ],
)
def test_bars_without_a_rule_and_tags_without_an_end_are_text(text: str) -> None:
    assert tables(text) == []


def test_a_title_in_the_first_row_leaves_the_column_names_as_a_shorter_header() -> None:
    title, rule, names = "| Depot, March | | |", "|---|---|---|", "| Part | Place | Stock |"
    top = f"{title}\n{rule}"
    assert tables(f"{top}\n{names}\n| Bolt | A | 3 |") == [([f"{top}\n{names}", names], ["| Bolt | A | 3 |"])]
    assert tables(f"{top}\n| | | |\n{names}\n| Bolt | A | 3 |")[0][0][1] == names
    units = f"{names}\n| | | pcs |"
    assert tables(f"{top}\n{units}\n| Bolt | A | 3 |")[0] == ([f"{top}\n{units}", units], ["| Bolt | A | 3 |"])


def test_a_title_without_column_names_below_it_is_the_header() -> None:
    top = "| Depot | | |\n|---|---|---|"
    assert tables(f"{top}\n| Bolt | A | 3 |\n| Nut | B | 4 |") == [([top], ["| Bolt | A | 3 |", "| Nut | B | 4 |"])]


def test_an_escaped_bar_does_not_end_a_cell() -> None:
    top, names = "| Here \\| there | |\n|---|---|", "| Part | Stock |"
    assert tables(f"{top}\n{names}\n| Bolt | 3 |")[0][0] == [f"{top}\n{names}", names]


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("<table><tr><th>A</th></tr>", ["<tr><td>1</td></tr>", "<tr><td>2</td></tr></table>"]),
        ("<table><tr><td>A</td></tr>", ["<tr><td>1</td></tr></table>"]),
        ("<TABLE id=x>\n<TR><TH>A</TH></TR>", ["<TR><TD>1</TD></TR>\n</TABLE>"]),
        ("<table><tr><th>A</th></tr><tr><th>kg</th></tr>", ["<tr><td>1</td></tr></table>"]),
        ("<table><tr><th>A</th><td>B</td></tr>", ["<tr><th>1</th><td>2</td></tr></table>"]),
        (
            "<table><thead><tr><td>A</td></tr><tr><td>kg</td></tr></thead>",
            ["<tbody><tr><td>1</td></tr>", "<tr><td>2</td></tr></tbody></table>"],
        ),
        ("<table>none</table>", []),
    ],
)
def test_the_header_of_an_html_table_is_its_head_or_its_rows_of_th_or_its_first_row(
    header: str, rows: list[str]
) -> None:
    text = header + "\n".join(["", *rows])
    assert tables(text) == [([header], rows)]
    assert tables(f"Before it.\n\n{text}\n\nBehind it.") == tables(text)


def test_of_nested_html_tables_only_the_inner_one_is_a_table() -> None:
    inner = "<table>\n<tr><th>A</th></tr>\n<tr><td>1</td></tr>\n</table>"
    assert tables(f"<table>\n<tr><td>\n{inner}\n</td></tr>\n</table>") == tables(inner)


@pytest.mark.parametrize(
    ("cells", "kinds"),
    [
        (["Part", "Stock"], "header"),
        (["Part", "2024"], ""),
        (["Part", "-3,5 %"], ""),
        (["Part", "3 kg"], "header"),
        (["Depot", "", ""], "title"),
        ([], "title"),
        (["kg", "", "m³"], "header units"),
        (["km/h", "°C"], "header units"),
        (["n/a", "N/A"], "header"),
        (["[row]", "(pcs)"], "header units"),
        (["kg", "Bolt"], "header"),
        (["(as far as is known)", "kg"], "header"),
    ],
)
def test_headers_are_words_titles_stand_alone_and_units_are_units(cells: list[str], kinds: str) -> None:
    checks = {"header": is_header, "title": is_title, "units": are_units}
    assert [kind for kind, check in checks.items() if check(cells)] == kinds.split()


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("Part;Price\nBolt;1,5\nNut;2,5", "Part;Price\n"),
        ("Part\tNote\nBolt\tlong, thin\nNut\tround", "Part\tNote\n"),
        ('Part,Note\n"Bolt; long",1\n"Nut; flat",2', "Part,Note\n"),
        ('"Part, name",Note\nBolt,1', '"Part, name",Note\n'),
        ("sep=:\nPart:Stock\nBolt:3", "Part:Stock\n"),
        ("Stock of 2024,,\nPart,Place,Stock\nBolt,A,3", "Part,Place,Stock\n"),
        ("Part,Place,Stock\n,,kg\nBolt,A,3", "Part,Place,Stock\n,,kg\n"),
        ("A plain line\nand one more", ""),
    ],
)
def test_the_header_of_separated_values_is_the_first_row_of_names(text: str, header: str) -> None:
    assert "".join(segment.prefix for segment in segments(text)) == header


@pytest.mark.parametrize(
    "rows",
    [
        ['Bolt,"a\n\nb"', 'Nut,"c\r\nd"'],
        ['"a ""quoted""\nword",1', "Nut,2"],
        ['Screw 5",3', 'Nut 6",4'],
        ['"",1', '"a,b",""'],
        ['"""\n""",1', "Nut,2"],
    ],
)
def test_a_row_ends_where_no_quoted_cell_is_open(rows: list[str]) -> None:
    header, (first, *others) = header_and_rows("\n".join(["Part,Size", *rows]))
    assert header == "Part,Size\n"
    assert [first.removeprefix(header), *others] == rows


def test_an_open_quote_takes_a_hundred_lines_at_most() -> None:
    behind = [f"{number},1" for number in range(150)]
    _, (first, *others) = header_and_rows("\n".join(["Part,Size", 'Bolt,"open', *behind]))
    assert first.endswith("\n98,1")
    assert others == behind[99:]


def test_text_around_a_table_is_a_segment_of_its_own_without_its_header() -> None:
    text = "# Parts\n\nBefore it.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nBehind it."
    assert [(segment.prefix, segment.section) for segment in segments(text)] == [
        ("", ("Parts",)),
        ("| a | b |\n|---|---|\n", ("Parts",)),
        ("", ("Parts",)),
    ]


@examples(60)
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=30), separator=st.sampled_from(",;\t|"))
def test_every_chunk_of_a_quoted_table_is_a_table_and_together_they_have_each_row_once(
    rows: list[tuple[str, str]], separator: str
) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
        [("Part", "Note"), *rows]
    )
    spans = chunk(file.getvalue(), "table", max_tokens=MAX_TOKENS, overlap_chars=0, count_tokens=count_words)
    read = [list(csv.reader(io.StringIO(span.text, newline=""), delimiter=separator)) for span in spans]
    assert {tuple(header) for header, *_ in read} == {("Part", "Note")}
    assert [tuple(row) for _, *below in read for row in below] == rows
