"""Joins neighbouring chunks into one text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk's text and its offsets in the document."""

    start: int
    end: int
    text: str

    @property
    def body(self) -> str:
        """The text without a prefix that is not at this place in the document, such as a repeated table header."""
        length = self.end - self.start
        return self.text[-length:] if 0 < length < len(self.text) else self.text


def joined(pieces: Sequence[Piece]) -> str:
    """Joins *pieces*, which are in the order of their offsets; what two of them share appears once.

    Pieces one character apart, such as rows and sentences, are joined by a newline; larger gaps by a blank line.
    """
    if not pieces:
        return ""
    parts, end = [pieces[0].text], pieces[0].end
    for piece in pieces[1:]:
        if piece.start > end:
            parts.append("\n" if piece.start == end + 1 else "\n\n")
        parts.append(piece.body[max(end - piece.start, 0) :])
        end = max(end, piece.end)
    return "".join(parts)
