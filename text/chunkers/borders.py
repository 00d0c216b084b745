"""Where a text can be cut: lines, paragraphs and sentences of any language.

A border function takes ``(text, start, end)`` and yields ``(start, end)`` pairs in order, which together cover all
characters of the stretch except white space. All take linear time, even on hostile text: no pattern here may rescan a
run of equal characters from each of its positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from text.chunkers.abbreviations import ends_sentence
from text.chunkers.stretches import Border, Stretch, trimmed

_LINE = re.compile(r"\r\n?|[\n\f\v\x85\u2028\u2029]")
BLANK_LINE = re.compile(r"\f|(?:\r\n|\r(?!\n)|\n)[^\S\r\n\f]*+(?:\r\n?|\n)")

_CLOSING = "[\"'”’»)\\]」』）】》]*+"  # noqa: RUF001 (these very marks are meant)
_SENTENCE_END = re.compile(
    # Latin marks end a sentence only before white space: not in 3.14, a.b.c or example.org.
    rf"(?<![.!?…])[.!?…]++{_CLOSING}(?=\s)"
    # CJK, Indic, Arabic, Armenian, Ethiopic, Tibetan, Burmese and Khmer marks end one anywhere.
    rf"|(?<![。！？｡।॥؟۔։።།။។])[。！？｡।॥؟۔։።།။។]++{_CLOSING}"  # noqa: RUF001 (likewise)
    rf"|{BLANK_LINE.pattern}"
)


def lines(text: str, start: int, end: int) -> Iterator[Stretch]:
    yield from _between(text, start, end, at=(match.end() for match in _LINE.finditer(text, start, end)))


def paragraphs(text: str, start: int, end: int) -> Iterator[Stretch]:
    """Yields the stretches between blank lines or form feeds."""
    yield from _between(text, start, end, at=(match.end() for match in BLANK_LINE.finditer(text, start, end)))


def sentences(text: str, start: int, end: int) -> Iterator[Stretch]:
    """Yields sentences. The full stop of an abbreviation, an initial or an ordinal does not end one."""
    yield from _between(text, start, end, at=_ends(text, start, end))


def full_stops(text: str, start: int, end: int) -> Iterator[Stretch]:
    """Yields stretches between all closing marks, to cut what ``sentences`` takes for one long sentence."""
    yield from _between(text, start, end, at=(match.end() for match in _SENTENCE_END.finditer(text, start, end)))


PROSE: tuple[Border, ...] = (sentences, full_stops)


def _ends(text: str, start: int, end: int) -> Iterator[int]:
    begin = start
    for match in _SENTENCE_END.finditer(text, start, end):
        is_stop = match.group()[0] == "."
        if not is_stop or ends_sentence(text, match.start() + 1, begin=begin, after=match.end()):
            begin = match.end()
            yield begin


def _between(text: str, start: int, end: int, *, at: Iterator[int]) -> Iterator[Stretch]:
    for border in (*at, end):
        first, last = trimmed(text, start, border)
        if first < last:
            yield first, last
        start = border
