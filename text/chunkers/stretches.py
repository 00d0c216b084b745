"""Stretches of a text, as pairs of offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

Stretch = tuple[int, int]
Border = Callable[[str, int, int], Iterator[Stretch]]
"""Cuts the stretch of a text from the second to the third argument into smaller ones."""


def trimmed(text: str, start: int, end: int) -> Stretch:
    """Returns the stretch without white space at its ends; ``start == end`` if it is blank."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return start, max(start, start + len(piece.strip()))
