"""Packs units into chunks so that an edit changes only the chunks around it.

If chunks were filled from left to right, one inserted paragraph would shift every border after it. Here borders depend
on content, as in content-defined chunking (LBFS, Muthitacharoen et al. 2001). Each unit has a mark, a hash of its own
text, and

1. a unit whose mark is the smallest within REACH of a chunk on both sides starts a stretch;
2. a stretch (about a chunk and a half) is cut into the fewest chunks, and among equals those with the smallest marks.

So only an edit within a border's own stretch, or within reach of the stretch's ends, can move the border.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from domain import Span
from text.chunkers.base import Segment, Source, Unit, units_of
from text.chunkers.borders import PROSE, lines

REACH = 0.5
"""In chunks. A larger value fills chunks better, but edits reach further; test_chunkers.py has the figures."""


def pack(source: Source, segment: Segment) -> Iterator[Span]:
    """Yields the chunks of a segment, in order. Only a single code point can exceed ``source.max_tokens``."""
    if segment.units:
        yield from _Packer.of(source, segment).spans()


@dataclass(frozen=True, slots=True)
class _Packer:
    """*begins* and *ends* are each unit's offsets in tokens; *room* is how many tokens a chunk may have."""

    source: Source
    segment: Segment
    begins: list[int]
    ends: list[int]
    marks: list[float]
    room: int

    @classmethod
    def of(cls, source: Source, segment: Segment) -> _Packer:
        marks = [_mark(source.text[unit.start : unit.end]) for unit in segment.units]
        begins, ends = _on_a_line(source, segment.units)
        return cls(source, segment, begins, ends, marks, source.beside(segment.prefix).max_tokens)

    def spans(self) -> Iterator[Span]:
        for first, stop in pairwise([*self._anchors(), len(self.marks)]):
            yield from self._filled(first, stop, self.room)

    def _anchors(self) -> list[int]:
        reach = self.room * REACH
        line = [*self.begins, self.ends[-1]]
        before, after = _nearest_smaller(self.marks)
        inside = range(1, len(self.marks))
        return [0] + [at for at in inside if line[at] - line[before[at]] >= reach <= line[after[at]] - line[at]]

    def _filled(self, first: int, stop: int, room: int) -> Iterator[Span]:
        for begin, end in self._cheapest(first, stop, room):
            span = self._span(begin, end)
            if span.token_count <= self.source.max_tokens:
                yield span
            elif end - begin == 1:
                yield from self._bare(span)
            else:  # token counts are not additive: the whole can have more tokens than the sum of its parts
                weight = self.ends[end - 1] - self.begins[begin]
                fair = weight * self.source.max_tokens // span.token_count
                yield from self._filled(begin, end, min(fair, weight - 1))

    def _cheapest(self, first: int, stop: int, room: int) -> list[tuple[int, int]]:
        """Returns the cheapest partition, where a chunk costs 1 + its first unit's mark.

        The cost of a chunk does not depend on its end, so a queue of the useful starts within reach, cheapest first,
        makes this linear (sliding-window minimum).
        """
        starts: deque[tuple[float, int]] = deque()
        cost, chosen = 0.0, {}
        for last in range(first, stop):
            price = cost + 1 + self.marks[last]
            while starts and starts[-1][0] >= price:
                starts.pop()
            starts.append((price, last))
            while starts[0][1] < last and self.ends[last] - self.begins[starts[0][1]] > room:
                starts.popleft()
            cost, chosen[last] = starts[0]
        return _followed_back(chosen, first, stop)

    def _span(self, begin: int, end: int) -> Span:
        start, stop = self.segment.units[begin].start, self.segment.units[end - 1].end
        text = self.segment.prefix_at(start) + self.source.text[start:stop]
        return Span(start, stop, text, self.source.count_tokens(text), self.segment.section)

    def _bare(self, span: Span) -> Iterator[Span]:
        """Omits the prefix, for a tokenizer that counts more tokens for the whole than for its two parts."""
        stretches = [(span.start, span.end)]
        if span.start <= self.segment.header[0]:  # it contains the header itself
            stretches = [(span.start, self.segment.header[1]), (self.segment.header[1], span.end)]
        for unit in units_of(self.source, stretches, (lines, *PROSE)):
            text = self.source.text[unit.start : unit.end]
            yield Span(unit.start, unit.end, text, self.source.count_tokens(text), span.section)


def _mark(text: str) -> float:
    """Returns a number in [0, 1) that depends only on the text, in every process and on every machine."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def _on_a_line(source: Source, units: Sequence[Unit]) -> tuple[list[int], list[int]]:
    begins, ends = [0], [units[0].weight]
    for left, right in pairwise(units):
        begins.append(ends[-1] + source.weight(left.end, right.start))
        ends.append(begins[-1] + right.weight)
    return begins, ends


def _nearest_smaller(marks: Sequence[float]) -> tuple[list[int], list[int]]:
    """Returns for each unit, on both sides, the nearest whose mark is not larger; the ends count as smaller."""
    before, after = [0] * len(marks), [len(marks)] * len(marks)
    falling: list[int] = []
    for at in range(1, len(marks)):
        while falling and marks[falling[-1]] > marks[at]:
            after[falling.pop()] = at
        before[at] = falling[-1] if falling else 0
        falling.append(at)
    return before, after


def _followed_back(chosen: dict[int, int], first: int, stop: int) -> list[tuple[int, int]]:
    pairs = []
    while stop > first:
        begin = chosen[stop - 1]
        pairs.append((begin, stop))
        stop = begin
    return pairs[::-1]
