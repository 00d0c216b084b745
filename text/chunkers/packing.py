"""From units to chunks, so that an edit changes the chunks around it and no others.

Filling chunks from left to right would let one inserted paragraph shift every border behind it. Here borders
depend on content, as in content-defined chunking (LBFS, Muthitacharoen et al. 2001): each unit has a mark, a
hash of its own text, and

1. a unit whose mark is smaller than every other within REACH of a chunk on both sides starts a stretch, and
2. inside a stretch (about a chunk and a half) the fewest chunks win, and among those the smallest marks.

So a border can only be moved from within its own stretch or the reach of its ends.
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
"""Of a chunk. Larger fills chunks better and lets an edit reach further; test_chunkers.py holds the figures."""


def pack(source: Source, segment: Segment) -> Iterator[Span]:
    """The chunks of a run, in order. Only a chunk of a single code point can be over ``source.max_tokens``."""
    if segment.units:
        yield from _Packer.of(source, segment).spans()


@dataclass(frozen=True, slots=True)
class _Packer:
    """*begins* and *ends* say where each unit lies on a line of tokens; *room* is what a chunk may hold."""

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
            else:  # the weights are a sum, a tokenizer need not be: the whole can have more tokens than its parts
                weight = self.ends[end - 1] - self.begins[begin]
                fair = weight * self.source.max_tokens // span.token_count
                yield from self._filled(begin, end, min(fair, weight - 1))

    def _cheapest(self, first: int, stop: int, room: int) -> list[tuple[int, int]]:
        """The partition that costs least, where a chunk costs 1 + its first unit's mark.

        The cost of a chunk does not depend on its end, so a queue of the starts that are in reach and still
        of use, cheapest first, makes this linear (sliding-window minimum).
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
        """Without the prefix, for a tokenizer that counts more for the two together than for each."""
        stretches = [(span.start, span.end)]
        if span.start <= self.segment.header[0]:  # it has the header in its place
            stretches = [(span.start, self.segment.header[1]), (self.segment.header[1], span.end)]
        for unit in units_of(self.source, stretches, (lines, *PROSE)):
            text = self.source.text[unit.start : unit.end]
            yield Span(unit.start, unit.end, text, self.source.count_tokens(text), span.section)


def _mark(text: str) -> float:
    """A number in [0, 1) that only the text decides, in every process and on every machine."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def _on_a_line(source: Source, units: Sequence[Unit]) -> tuple[list[int], list[int]]:
    begins, ends = [0], [units[0].weight]
    for left, right in pairwise(units):
        begins.append(ends[-1] + source.weight(left.end, right.start))
        ends.append(begins[-1] + right.weight)
    return begins, ends


def _nearest_smaller(marks: Sequence[float]) -> tuple[list[int], list[int]]:
    """For each unit the nearest one on either side whose mark is not larger; the run's ends count as smaller."""
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
