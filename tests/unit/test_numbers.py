"""Numbers of cells and of list items keep every digit, and every cell of a table stands in its own column."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from text.extract.numbering import BULLET, W, WordNumbers, numeral
from text.extract.numbers import number_format, plain
from text.extract.tables import Grid

FIFTEEN_DIGITS = st.integers(-(10**15) + 1, 10**15 - 1)
DECIMALS = st.builds("{}e{}".format, FIFTEEN_DIGITS, st.integers(-12, 8))
ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100, "d": 500, "m": 1000}


@given(st.integers(-(2**53), 2**53))
def test_a_whole_number_is_shown_alike_as_an_integer_and_as_a_float(value: int) -> None:
    assert plain(value) == plain(float(value))
    for code in ("0.00", "0%", "00000", "000-00-0000"):
        assert formatted(code, value) == formatted(code, float(value))


def formatted(code: str | None, value: float, number: int = 0) -> str:
    parsed = number_format(code, number)
    assert parsed is not None
    return parsed.show(value)


@pytest.mark.parametrize(
    ("code", "value", "text"),
    [
        ("$#,##0", -5, "-$5"),
        ("0%", -0.5, "-50%"),
        ("0.0%", 0.12345, "12.345%"),
        ('0.0" %"', 5, "5.0 %"),
        (r"0\%", 5, "5%"),
        ("0.0##", 2.3456, "2.3456"),
        ("#.00", 0.5, "0.50"),
        ("_(* #,##0.00_);_(* (#,##0.00)", 1234.5, "1234.50"),
        ('"a;b "0', 7, "a;b 7"),
        ("[$CHF-807] 0.00", 7, "CHF 7.00"),
        ("00 00 00", 123456, "12 34 56"),
        ("00 00 00", 1234567, "123 45 67"),
        ("(000) 000-0000", 15551234567, "(1555) 123-4567"),
        ('"No. "00-00', 12345, "No. 123-45"),
        ("00-00", 12.5, "12.5"),
        ("00-00", -5.0, "-5"),
    ],
)
def test_a_format_adds_its_signs_and_zeros(code: str, value: float, text: str) -> None:
    assert formatted(code, value) == text


@pytest.mark.parametrize(
    "code",
    [
        "General",
        "0",
        "#,##0",
        "[Red]0",
        "@",
        "yyyy-mm-dd",
        "h:mm AM/PM",
        "0.00E+00",
        "# ?/?",
        "0,",
        "00#-0",
        '"Sum"',
        "",
    ],
)
def test_dates_texts_and_plain_numbers_have_no_format_of_their_own(code: str) -> None:
    assert number_format(code, 0) is None


def test_a_format_without_a_code_is_one_of_those_built_in_and_a_code_comes_first() -> None:
    assert (formatted(None, 0.5, 9), formatted(None, 0.5, 10), formatted(None, 0.5, 2)) == ("50%", "50.00%", "0.50")
    assert formatted("0.000", 0.5, 9) == "0.500"
    assert number_format(None, 0) is number_format(None, 14) is number_format(None, 999) is None


@given(DECIMALS)
def test_fifteen_digits_come_back_without_an_exponent(number: str) -> None:
    value, exact = float(number), Decimal(number)
    assert "e" not in plain(value) and Decimal(plain(value)) == exact
    assert Decimal(formatted("0.00", value)) == exact
    assert Decimal(formatted("00000", value)) == exact
    assert Decimal(formatted("0.0%", value).removesuffix("%")) == exact * 100


@given(st.integers(0, 2**53 - 1))
def test_no_digit_of_a_grouped_number_is_lost_or_moved(number: int) -> None:
    assert formatted("000-00-0000", number).replace("-", "") == f"{number:09d}"


def test_huge_and_tiny_numbers_keep_their_exponent() -> None:
    assert (plain(1e24), plain(1e25), plain(1.5e-30), plain(-0.0)) == ("1" + "0" * 24, "1e+25", "1.5e-30", "0")


@pytest.mark.parametrize(
    ("number", "form", "text"),
    [
        (1, "lowerLetter", "a"),
        (27, "a", "aa"),
        (53, "a", "aaa"),
        (2026, "upperRoman", "MMXXVI"),
        (5000, "I", "5000"),
        (7, "decimalZero", "07"),
        (7, "chicago", "7"),
    ],
)
def test_a_number_is_written_in_the_form_of_its_list(number: int, form: str, text: str) -> None:
    assert numeral(number, form) == text


@given(st.integers(1, 4999))
def test_roman_numerals_add_up_and_repeat_no_letter_too_often(number: int) -> None:
    text = numeral(number, "i")
    values = [ROMAN[letter] for letter in text]
    assert number == sum(-one if one < after else one for one, after in zip(values, [*values[1:], 0], strict=True))
    assert not any(letter * 4 in text for letter in "ixc") and all(text.count(letter) < 2 for letter in "vld")


def w(name: str, content: str = "", **attributes: str | int) -> str:
    written = " ".join(f'w:{key}="{value}"' for key, value in attributes.items())
    return f"<w:{name} {written}>{content}</w:{name}>"


def parsed(xml: str) -> Any:
    return etree.fromstring(f'<w:x xmlns:w="{W[1:-1]}">{xml}</w:x>')


def labels(levels: str, nums: str, items: list[tuple[int, int]], definitions: str = "") -> list[str | None]:
    """Numbers *items*, each with its level and the number of its list; list 1 is defined by *levels*."""
    first = w("num", w("abstractNumId", val=0), numId=1)
    numbers = WordNumbers(parsed(w("abstractNum", levels, abstractNumId=0) + definitions + first + nums), None)
    properties = [w("numPr", w("ilvl", val=level) + w("numId", val=number)) for level, number in items]
    return [numbers.label(parsed(w("pPr", each)), None) for each in properties]


def level(at: int, form: str, label: str, start: int = 1) -> str:
    return w("lvl", w("start", val=start) + w("numFmt", val=form) + w("lvlText", val=label), ilvl=at)


LEVELS = level(0, "decimal", "%1.") + level(1, "lowerLetter", "%1%2)", 3) + level(2, "none", "Note %3")


def test_a_level_counts_from_its_start_again_below_each_item_above() -> None:
    items = [(0, 1), (1, 1), (1, 1), (2, 1), (0, 1), (1, 1)]
    assert labels(LEVELS, "", items) == ["1.", "1c)", "1d)", "Note", "2.", "2c)"]
    assert labels(LEVELS, "", [(1, 1), (0, 1)]) == ["1c)", "1."]


def test_lists_of_one_definition_count_on_and_an_override_changes_one_of_them() -> None:
    second = w("num", w("abstractNumId", val=0), numId=2)
    other = w("lvlOverride", level(0, "upperRoman", "(%1)"), ilvl=0)
    third = w("num", w("abstractNumId", val=0) + other, numId=3)
    assert labels(LEVELS, second + third, [(0, 1), (0, 2), (0, 3), (0, 1)]) == ["1.", "2.", "(III)", "4."]


def test_a_definition_may_be_that_of_a_style() -> None:
    definitions = w("abstractNum", w("numStyleLink", val="S"), abstractNumId=1)
    definitions += w("abstractNum", w("styleLink", val="S") + level(0, "upperLetter", "%1."), abstractNumId=2)
    assert labels(LEVELS, w("num", w("abstractNumId", val=1), numId=2), [(0, 2), (0, 2)], definitions) == ["A.", "B."]


def test_an_item_whose_list_or_level_is_nowhere_defined_is_a_bullet_and_number_0_is_none() -> None:
    assert labels(LEVELS, "", [(0, 9), (5, 1), (9, 1), (0, 0)]) == [BULLET, BULLET, BULLET, None]


SPANS = st.lists(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=4), min_size=1, max_size=5)


@given(SPANS)
def test_every_cell_stands_in_its_own_column(rows: list[list[tuple[int, int]]]) -> None:
    grid, places = Grid(), dict[tuple[int, int], str]()
    for row, cells in enumerate(rows):
        grid.begin_row()
        column = 0
        for number, (columns, height) in enumerate(cells):
            while (row, column) in places:
                column += 1
            width = next((each for each in range(1, columns) if (row, column + each) in places), columns)
            for right in range(width):
                places |= {(row + down, column + right): "" if right else f"{row}.{number}" for down in range(height)}
            grid.add_cell(f"{row}.{number}", columns=width, rows=height)
    texts = grid.texts()
    assert len(texts) == len(rows)
    for row, line in enumerate(texts):
        width = max([len(line), *(column + 1 for of, column in places if of == row)])
        assert line + [""] * (width - len(line)) == [places.get((row, column), "") for column in range(width)]


def test_no_cell_spans_row_groups_and_a_long_one_is_not_repeated() -> None:
    grid, long = Grid(), "tide " * 50
    grid.add_cell("head", rows=9)
    grid.end_group()
    grid.begin_row()
    grid.add_cell("short", rows=2).add("and more")
    grid.add_cell(long, rows=2)
    grid.begin_row()
    grid.add_cell("last")
    assert grid.texts() == [["head"], ["short and more", long], ["short and more", "", "last"]]
