"""Neighbouring chunks as one text again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk's text and where it stands in its document."""

    start: int
    end: int
    text: str

    @property
    def body(self) -> str:
        """Without what was put before it, as a table's header is."""
        length = self.end - self.start
        return self.text[-length:] if 0 < length < len(self.text) else self.text


def joined(pieces: Sequence[Piece]) -> str:
    """*pieces* in their order, by position: what two of them share stands there once.

    Where a single character is left out they go on in the next line, as rows and sentences do; a gap is a blank line.
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
