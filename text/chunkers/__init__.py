"""From a text to its spans. A strategy says what stays together; one packer makes chunks of it."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from domain import CountTokens, Span
from errors import Invalid
from text.chunkers.base import Segment, Source
from text.chunkers.packing import pack
from text.chunkers.pages import Page, by_page, pages
from text.chunkers.prose import by_sentence, conversation
from text.chunkers.structure import default, markdown
from text.chunkers.table import table

MostTokens = Callable[[tuple[str, ...]], int]
"""Of a chunk under these headings, an overlap included: what the model reads beside them."""

_REMEMBERED_COUNTS = 4_096
_WORD = re.compile(r"(?<=\s)\S|(?<=[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u9fff\uff00-\uffef])\S")
"""Where an overlap may begin: at a word, or after any character of a script that puts no space between words."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way of chunking. *description* is one sentence for users; *function* gives the runs of a source."""

    name: str
    description: str
    function: Callable[[Source], Iterable[Segment]]


STRATEGIES: Mapping[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy("default", "Sections, then paragraphs, then sentences: for any text.", default),
        Strategy("markdown", "Markdown's headings are sections, and fenced code stays whole.", markdown),
        Strategy("sentences", "Whole sentences of any language, whatever the layout.", by_sentence),
        Strategy("pages", "Like default, but no chunk crosses a page (form feed, [page 3], --- page 3 ---).", by_page),
        Strategy("conversation", "Turns (Name: …, [12:03] Name: …) stay whole.", conversation),
        Strategy("table", "Rows of CSV, TSV, markdown or HTML tables stay whole, under a repeated header.", table),
    )
}


def chunk(
    text: str,
    strategy: str,
    *,
    max_tokens: int,
    overlap_chars: int,
    count_tokens: CountTokens,
    most_tokens: MostTokens | None = None,
) -> list[Span]:
    """The chunks of *text* in order; together they hold every character that is not white space, page mark or
    repeated header.

    With ``overlap_chars == 0`` no chunk has more than *max_tokens* (a single code point that has more is not
    cut). An overlap comes on top: up to that many characters of the chunk before, from a word on (in a table from
    a row on), where that is of the same section, page or table, and no more of it than *most_tokens* leave room for.

    Offsets count code points: ``text[start:end] == span.text``, after the header where a table repeats it.
    Page numbers are set where the text marks pages, and always by ``pages``.

    Raises Invalid for an unknown strategy, for ``max_tokens < 1`` and for ``overlap_chars < 0``.
    """
    _check(strategy, max_tokens=max_tokens, overlap_chars=overlap_chars)
    source = Source(text, max_tokens, lru_cache(_REMEMBERED_COUNTS)(count_tokens))
    spans: list[Span] = []
    for segment in STRATEGIES[strategy].function(source):
        most = most_tokens(segment.section) if most_tokens else None
        spans += _overlapping(source, segment, overlap_chars, most=most)
    all_pages = pages(text)
    return _numbered(spans, all_pages) if len(all_pages) > 1 or strategy == "pages" else spans


def _check(strategy: str, *, max_tokens: int, overlap_chars: int) -> None:
    if strategy not in STRATEGIES:
        message = f"unknown chunking strategy {strategy!r}; there are {', '.join(STRATEGIES)}"
        raise Invalid(message, param="chunk_strategy")
    if max_tokens < 1:
        raise Invalid(f"a chunk must have room for at least 1 token, not {max_tokens}", param="max_tokens")
    if overlap_chars < 0:
        raise Invalid(f"an overlap cannot be {overlap_chars} characters", param="overlap_chars")


def _overlapping(source: Source, segment: Segment, overlap_chars: int, *, most: int | None) -> Iterator[Span]:
    """Back to the start of the chunk before at the most, so that the answer stays linear in the document."""
    floor: int | None = None
    for span in pack(source, segment):
        lowest = max(span.start - overlap_chars, span.start if floor is None else floor)
        starts = (
            [] if lowest == span.start else _borders(source.text, segment, lowest, span.start, is_floor=lowest == floor)
        )
        floor = span.start
        yield _longest(source, segment, span, starts, most)


def _borders(text: str, segment: Segment, lowest: int, start: int, *, is_floor: bool) -> list[int]:
    """Where an overlap may begin: at a unit or a word from *lowest* on, and before *start*."""
    if segment.whole_overlap:
        first = bisect_left(segment.units, lowest, key=lambda unit: unit.start)
        starts = [
            unit.start for unit in segment.units[first : bisect_left(segment.units, start, key=lambda unit: unit.start)]
        ]
    else:
        starts = [word.start() for word in _WORD.finditer(text, lowest, start)]
    return starts if not is_floor or starts[:1] == [lowest] else [lowest, *starts]


def _longest(source: Source, segment: Segment, span: Span, starts: list[int], most: int | None) -> Span:
    """With as much of the overlap as the model reads beside the span's own text."""

    def is_read(start: int) -> bool:
        return most is None or source.count_tokens(_text_from(source, segment, span, start)) <= most

    at = bisect_left(starts, True, key=is_read)
    if at == len(starts):
        return span
    text = _text_from(source, segment, span, starts[at])
    return replace(span, start=starts[at], text=text, token_count=source.count_tokens(text))


def _text_from(source: Source, segment: Segment, span: Span, start: int) -> str:
    """A header that the overlap reaches stands in its place; a span that had no room for one gets none."""
    has_prefix = len(span.text) > span.end - span.start
    return (segment.prefix_at(start) if has_prefix else "") + source.text[start : span.end]


def _numbered(spans: Iterable[Span], all_pages: list[Page]) -> list[Span]:
    """A mark that a strategy keeps as text counts to the page that it begins."""
    ends = [page.end for page in all_pages[:-1]]
    return [
        replace(
            span,
            page_start=all_pages[bisect_right(ends, span.start)].number,
            page_end=all_pages[bisect_right(ends, span.end - 1)].number,
        )
        for span in spans
    ]
