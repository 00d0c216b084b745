"""What can be quoted from a passage: its sentences, and the rows of its tables, each under its header. Pure."""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from text.chunkers.borders import lines, sentences
from text.chunkers.stretches import Stretch
from text.chunkers.table import uniform_table
from text.chunkers.tables import Table, tables_in
from text.words import query_words, words

_READ_CHARS = 20_000
_LONGEST_CHARS = 600
_MIN_CHARS = 25
_STOPS = ".!?…。！？｡।॥؟۔։።။\"'”’»)]」』"  # noqa: RUF001 (these very marks are meant)
_CELL_END = re.compile(r"</t[dh]\s*>\s*<t[dh]\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]{0,500}>")
_RULE_LINE = re.compile(r"[\s|:+-]*-[\s|:+-]*")


@dataclass(frozen=True, slots=True)
class Quote:
    """*own_text* is *text* without the header of its table."""

    text: str
    own_text: str


def quotes(text: str) -> list[Quote]:
    """Returns the distinct quotes of a passage, of its beginning if it is very long, in their order.

    Sentences that look like headings are quoted only if there is nothing else.
    """
    unique: dict[str, Quote] = {}
    for each in _all_quotes(text[:_READ_CHARS]):
        unique.setdefault(each.text.casefold(), each)
    whole = [each for each in unique.values() if _is_whole(each)]
    return whole or list(unique.values()) or [Quote(_shortened(text), "")]


def shared_words(question: str, candidates: Sequence[Quote]) -> list[float]:
    """Returns how much of the question's words each of the quotes has, from 0 to 1 for the one that has the most.

    Words that few of them have count more.
    """
    sought = query_words(question)
    common = [sought.keys() & set(words(each.own_text)) for each in candidates]
    counts = Counter(word for each in common for word in each)
    weights = [sum(math.log(1 + len(candidates) / counts[word]) for word in each) for each in common]
    highest = max(weights, default=0.0)
    return [weight / highest if highest else 0.0 for weight in weights]


def _all_quotes(text: str) -> Iterator[Quote]:
    text_lines = list(lines(text, 0, len(text)))
    tables = [table for table, _, _ in tables_in(text, text_lines)]
    if not tables and (table := uniform_table(text, text_lines)):
        tables = [table]
    at = 0
    for table in tables:
        yield from _sentences(text, at, table.start)
        yield from _rows(text, table)
        at = table.end
    yield from _sentences(text, at, len(text))


def _sentences(text: str, start: int, end: int) -> Iterator[Quote]:
    for first, last in sentences(text, start, end):
        sentence = _shortened(" ".join(text[first:last].split()))
        yield Quote(sentence, sentence)


def _rows(text: str, table: Table) -> Iterator[Quote]:
    header = _plain(text, table.headers[0])
    for row in table.rows:
        if plain := _plain(text, row):
            yield Quote(f"{header}\n{plain}", plain)
    if not table.rows and header:
        yield Quote(header, header)


def _plain(text: str, stretch: Stretch) -> str:
    """Returns the rows as lines, without the markup of HTML and the rules of markdown."""
    part = text[slice(*stretch)]
    if "<" in part:
        part = html.unescape(_TAG.sub("", _CELL_END.sub(" | ", part)))
    kept = (" ".join(line.split()) for line in part.splitlines() if not _RULE_LINE.fullmatch(line))
    return _shortened("\n".join(line for line in kept if line))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_CHARS else f"{text[:_LONGEST_CHARS]}…"


def _is_whole(quote: Quote) -> bool:
    return quote.own_text != quote.text or len(quote.text) >= _MIN_CHARS or quote.text[-1] in _STOPS
