"""Strategies that look at no headings: sentences, and the turns of a conversation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from text.chunkers.base import Run, Source, units_of
from text.chunkers.borders import PROSE, full_stops, paragraphs, sentences

_TIME = r"\d{1,2}:\d{2}(?::\d{2})?(?:[ \t]?[AaPp][Mm])?"
_SPEAKER = re.compile(
    rf"(?:\A|(?<=[\r\n]))[ \t]*+(?:\[[^\]\r\n]{{1,40}}\]|\(?{_TIME}\)?)?[ \t]*+(?:[-\u2013][ \t]+)?"
    r"\*{0,2}[^\W\d_][\w .'\u2019-]{0,40}(?:\([^)\r\n]{1,40}\))?\*{0,2}:\*{0,2}(?=\s)"
)


def by_sentence(source: Source) -> Iterator[Run]:
    yield Run(units_of(source, sentences(source.text, 0, len(source.text)), (full_stops,)))


def conversation(source: Source) -> Iterator[Run]:
    """A turn begins with ``Name:``, ``[12:03] Name:`` or ``12:03 Name:``; without any such line, at a blank one."""
    text = source.text
    begins = [speaker.start() for speaker in _SPEAKER.finditer(text)]
    if not begins:
        yield Run(units_of(source, paragraphs(text, 0, len(text)), PROSE))
        return
    turns = zip([0, *begins], [*begins, len(text)], strict=True)
    yield Run(units_of(source, turns, (paragraphs, *PROSE)))
