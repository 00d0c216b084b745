"""Cuts a text into chunks. A strategy decides which units stay together; one packer fills the chunks."""

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
from text.chunkers.pages import PageSpan, by_page, pages
from text.chunkers.prose import by_sentence, conversation
from text.chunkers.structure import default, markdown
from text.chunkers.table import table

MostTokens = Callable[[tuple[str, ...]], int]
"""The most tokens that a chunk under these headings may have, overlap included, for the model to read it all."""

_REMEMBERED_COUNTS = 4_096
_WORD = re.compile(r"(?<=\s)\S|(?<=[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u9fff\uff00-\uffef])\S")
"""Where an overlap may begin: at a word, or at any character of a script without spaces."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A chunking strategy. *description* is a sentence for users; *function* yields the segments of a source."""

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
    """Returns the chunks of *text* in order; together they cover every character that is not white space or a page
    mark.

    Without an overlap no chunk has more than *max_tokens*, except a single code point that has more. An overlap is
    added to that: up to *overlap_chars* characters of the chunk before, starting at a word (in a table at a row),
    within the same section, page or table, and only as much as *most_tokens* allows.

    Offsets count code points: ``text[start:end] == span.text``, apart from a repeated table header in front. Page
    numbers are set if the text marks pages, and always by ``pages``.

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
    """Adds overlaps. None reaches beyond the chunk before, so that the result stays linear in the document."""
    floor: int | None = None
    for span in pack(source, segment):
        lowest = max(span.start - overlap_chars, span.start if floor is None else floor)
        starts = (
            [] if lowest == span.start else _borders(source.text, segment, lowest, span.start, is_floor=lowest == floor)
        )
        floor = span.start
        yield _longest(source, segment, span, starts, most)


def _borders(text: str, segment: Segment, lowest: int, start: int, *, is_floor: bool) -> list[int]:
    """Returns where an overlap may begin: at units or words from *lowest* to before *start*."""
    if segment.whole_overlap:
        first = bisect_left(segment.units, lowest, key=lambda unit: unit.start)
        starts = [
            unit.start for unit in segment.units[first : bisect_left(segment.units, start, key=lambda unit: unit.start)]
        ]
    else:
        starts = [word.start() for word in _WORD.finditer(text, lowest, start)]
    return starts if not is_floor or starts[:1] == [lowest] else [lowest, *starts]


def _longest(source: Source, segment: Segment, span: Span, starts: list[int], most: int | None) -> Span:
    """Extends *span* by as much of the overlap as fits *most* tokens."""

    def is_read(start: int) -> bool:
        return most is None or source.count_tokens(_text_from(source, segment, span, start)) <= most

    at = bisect_left(starts, True, key=is_read)
    if at == len(starts):
        return span
    text = _text_from(source, segment, span, starts[at])
    return replace(span, start=starts[at], text=text, token_count=source.count_tokens(text))


def _text_from(source: Source, segment: Segment, span: Span, start: int) -> str:
    """Returns the text from *start* on. The header is repeated only if *span* has it and the overlap does not."""
    has_prefix = len(span.text) > span.end - span.start
    return (segment.prefix_at(start) if has_prefix else "") + source.text[start : span.end]


def _numbered(spans: Iterable[Span], all_pages: list[PageSpan]) -> list[Span]:
    """Sets page numbers. A page mark that a strategy keeps as text belongs to the page that it begins."""
    ends = [page.end for page in all_pages[:-1]]
    return [
        replace(
            span,
            page_start=all_pages[bisect_right(ends, span.start)].number,
            page_end=all_pages[bisect_right(ends, span.end - 1)].number,
        )
        for span in spans
    ]
