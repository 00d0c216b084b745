# ruff: noqa: RUF001
"""Where sentences, lines, paragraphs and sections end: nothing is lost, and no abbreviation is cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.prose import count_words
from text.chunkers.base import Source
from text.chunkers.borders import full_stops, lines, paragraphs, sentences
from text.chunkers.stretches import Border
from text.chunkers.structure import default, markdown

PARTS = [
    "One",
    "two",
    "Dr.",
    "No. 5",
    "z. B.",
    "3.14",
    "J. R.",
    "“Yes.”",
    "Ja!",
    "Was?!",
    "…",
    "。",
    "؟",
    "।",
    ".",
    ")",
]
SPACES = [" ", "\n", "\n\n", "\r\n", "\r\n \r\n", "\r", "\f", "\u2028", "\t", ""]
TEXTS = st.lists(st.sampled_from(PARTS) | st.sampled_from(SPACES) | st.text(max_size=3), max_size=40).map("".join)
every_border = pytest.mark.parametrize("border", [lines, paragraphs, sentences, full_stops])


def cut(border: Border, text: str) -> list[str]:
    return [text[start:end] for start, end in border(text, 0, len(text))]


def sections(text: str, *, plain: bool = False) -> list[tuple[str, ...]]:
    strategy = default if plain else markdown
    return [segment.section for segment in strategy(Source(text, 1_000, count_words))]


@every_border
@given(text=TEXTS, data=st.data())
def test_stretches_are_in_order_and_hold_all_that_is_not_white_space(
    border: Border, text: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    last = start
    for first, stop in border(text, start, end):
        assert last <= first < stop <= end
        assert text[last:first].strip() == ""
        assert text[first:stop] == text[first:stop].strip()
        last = stop
    assert text[last:end].strip() == ""


@given(TEXTS)
def test_a_sentence_ends_only_where_a_closing_mark_or_a_paragraph_does(text: str) -> None:
    ends = {end for _, end in full_stops(text, 0, len(text))}
    assert {end for _, end in sentences(text, 0, len(text))} <= ends


@given(st.lists(st.sampled_from(["Bolts hold.", "Do nuts?", "They rust!", "It (really) works."]), max_size=20))
def test_plain_sentences_come_back_one_by_one(whole: list[str]) -> None:
    assert cut(sentences, " ".join(whole)) == whole


@pytest.mark.parametrize(
    "text",
    [
        "Ask Prof. Dr. Lind about it.",
        "See Fig. 3 and pp. 12 of vol. 2.",
        "Nach Art. 5 Abs. 2 gilt es.",
        "Im 15. Jahrhundert begann es.",
        "Er kam, d. h. Anna kam auch.",
        "Il y a M. Dupont et Mme. Curie.",
        "La Sra. López vive aquí.",
        "It was F. Scott Fitzgerald.",
        "A Ph.D. Program began.",
        "He waited... and left.",
        "Rent is 3 Mio. Euro.",
    ],
)
def test_a_full_stop_within_a_sentence_does_not_end_it(text: str) -> None:
    assert cut(sentences, text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bolts, nuts etc. The rest rusts.", ["Bolts, nuts etc.", "The rest rusts."]),
        ("Er ging um 5. Dann kam sie.", ["Er ging um 5.", "Dann kam sie."]),
        ("(It rained.) We left.", ["(It rained.)", "We left."]),
        ("«Oui.» Il part.", ["«Oui.»", "Il part."]),
        ("ما اسمك؟ أنا سامي۔ نعم", ["ما اسمك؟", "أنا سامي۔", "نعم"]),
        ("Բարեւ։ Ինչպես ես", ["Բարեւ։", "Ինչպես ես"]),
        ("a) It fits. b) It holds.", ["a) It fits. b) It holds."]),
        ("One line\nof a sentence. Two.", ["One line\nof a sentence.", "Two."]),
        ("Dr.\n\nSmith", ["Dr.", "Smith"]),
    ],
)
def test_a_sentence_ends_where_the_next_can_only_begin(text: str, expected: list[str]) -> None:
    assert cut(sentences, text) == expected


def test_full_stops_cut_also_behind_abbreviations_but_not_within_numbers() -> None:
    assert cut(full_stops, "Dr. Lind paid 3.50 euros. Yes.") == ["Dr.", "Lind paid 3.50 euros.", "Yes."]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\f", "\v", "\x85", "\u2028", "\u2029"])
def test_every_line_break_ends_a_line(newline: str) -> None:
    assert cut(lines, f"one{newline} two {newline}{newline}three") == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo\n\nthree", ["one\ntwo", "three"]),
        ("one\r\ntwo\r\n \t\r\nthree", ["one\r\ntwo", "three"]),
        ("one\ftwo", ["one", "two"]),
    ],
)
def test_a_blank_line_or_a_form_feed_ends_a_paragraph(text: str, expected: list[str]) -> None:
    assert cut(paragraphs, text) == expected


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("# Bolts", "Bolts"),
        ("#\tBolts ###", "Bolts"),
        ("# Notes on C#", "Notes on C#"),
        ("# Notes on C# ##", "Notes on C#"),
        ("Bolts\n=", "Bolts"),
        ("Bolts\n--", "Bolts"),
        ("####### Bolts", None),
        ("#Bolts", None),
        ("Bolts\n\n---", None),
        ("Bolts\n==-", None),
        ("***\n---", None),
        ("```\n# Bolts\n```", None),
        ("~~~\n```\n# Bolts\n~~~", None),
        ("````\n```\n# Bolts\n````", None),
        ("```\n# Bolts", None),
    ],
)
def test_a_heading_of_markdown_is_a_line_with_hashes_or_underlined(line: str, title: str | None) -> None:
    assert sections(f"{line}\n\nThey hold.") == [() if title is None else (title,)]


def test_after_a_closed_fence_headings_are_headings_again() -> None:
    assert sections("```\n# A\n```\n# B\n\ntext") == [(), ("B",)]
    assert sections("```a`b\n# A\n\ntext") == [(), ("A",)]


@pytest.mark.parametrize(
    "line",
    ["BOLTS", "BOLT", "BOLTS AND 12 NUTS", "BOLTS:", "B" * 80, "2.3 Bolts", "2.3. Bolts", "2.3\tBolts", "10.12.3 Ä"],
)
def test_a_plain_heading_is_a_short_paragraph_in_capitals_or_with_a_number(line: str) -> None:
    assert sections(f"{line}\n\nThey hold.", plain=True) == [(line,)]
    assert sections(f"{line}\n\nThey hold.") == [()]


@pytest.mark.parametrize(
    "line",
    [
        *("NUT", "BOLTS AND nuts", "BOLTS.", "BOLTS\nare here", "B" * 81, "2.3 Bolts hold.", "2. Bolts", "3.14 - 2"),
        *("1234.5 Bolts", "1.2.3.4.5.6.7 Bolts", "2.3Bolts"),
    ],
)
def test_a_long_line_an_item_and_a_sentence_are_no_plain_headings(line: str) -> None:
    assert sections(f"{line}\n\nThey hold.", plain=True) == [()]


def test_a_number_of_more_levels_is_a_heading_below_that_of_fewer() -> None:
    text = "1.1 A\n\nx\n\n1.1.1 B\n\ny\n\n1.2 C\n\nz\n\nPART TWO\n\nv\n\n2.1 D\n\nw"
    assert sections(text, plain=True) == [
        ("1.1 A",),
        ("1.1 A", "1.1.1 B"),
        ("1.2 C",),
        ("PART TWO",),
        ("PART TWO", "2.1 D"),
    ]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=15))
def test_the_section_is_the_way_down_to_its_heading(levels: list[int]) -> None:
    """Each heading's path has the nearest heading above it of a lower level, then that one's, and so on."""
    text = "\n\n".join(f"{'#' * level} H{number}\n\ntext" for number, level in enumerate(levels))
    for number, section in enumerate(sections(text)):
        at = [int(title.removeprefix("H")) for title in section]
        assert at[-1] == number
        for above, below in itertools.pairwise(at):
            assert levels[above] < levels[below] <= min(levels[above + 1 : below + 1])
        assert levels[at[0]] == min(levels[: number + 1])
        assert levels[at[0]] not in levels[at[0] + 1 : number + 1]
