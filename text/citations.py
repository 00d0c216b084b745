"""Checks the markers of an answer, such as [1], against its passages. Pure; works on a stream, piece by piece."""

from __future__ import annotations

import re

_LONGEST = 100
_BRACKETS = re.compile(r"(\])")
_ITEM = re.compile(r"([0-9]{1,9})\s*(?:[-\u2013]\s*([0-9]{1,9}))?")
_MARKER = re.compile(r"\[\s*[0-9]+(?:\s*[-\u2013,;]\s*[0-9]+)*\s*\]")
_MARKER_CHARS = "[0123456789 \t\r\n,;-\u2013"  # what a marker may contain, or one with others removed


class CitationChecker:
    """Passes an answer through and removes markers that refer to no passage.

    A marker is [2], [1, 3] or [2-4], of at most 100 characters. Its valid numbers are written as [1][3]. Text that may
    still become a marker is buffered, so the output does not depend on how the answer is split into pieces. The space
    before a removed marker is removed too.
    """

    def __init__(self, passage_count: int) -> None:
        self.passage_count = passage_count
        self.cited: set[int] = set()
        self._removed: dict[str, None] = {}
        self._pending = ""

    @property
    def removed(self) -> list[str]:
        """The markers that refer to no passage, without duplicates, in the order of the answer."""
        return list(self._removed)

    def feed(self, piece: str) -> str:
        """Adds *piece* and returns the text that can be shown now."""
        released = []
        for part in _BRACKETS.split(piece):
            if part == "]":
                self._pending += part
                self._close()
            else:
                self._pending += part
                released.append(self._release(self._safe_until()))
        return "".join(released)

    def end(self) -> str:
        """Returns the rest of the answer, which can no longer become a marker."""
        return self._release(len(self._pending))

    def _close(self) -> None:
        """Rewrites or removes the marker that ends with this bracket, if there is one."""
        start = self._pending.rfind("[", -_LONGEST)
        if start < 0 or not _MARKER.fullmatch(self._pending, start):
            return
        replacement = "".join(f"[{rank}]" for rank in self._cited_ranks(self._pending[start + 1 : -1]))
        before = self._pending[:start]
        self._pending = before + replacement if replacement else before[: -1 if before.endswith(" ") else None]

    def _cited_ranks(self, inside: str) -> list[int]:
        ranks: list[int] = []
        for item in re.split("[,;]", inside):
            match = _ITEM.fullmatch(item.strip())
            first = int(match[1]) if match else 0
            last = int(match[2] or first) if match else 0
            ranks += range(max(first, 1), min(last, self.passage_count) + 1)
            if not 1 <= first <= last <= self.passage_count:
                self._removed[f"[{item.strip()}]"] = None
        ranks = list(dict.fromkeys(ranks))
        self.cited.update(ranks)
        return ranks

    def _safe_until(self) -> int:
        """Returns where the text begins that may still become a marker, or the space before it."""
        tail = len(self._pending.rstrip(_MARKER_CHARS))
        start = self._pending.find("[", max(tail, len(self._pending) - _LONGEST))
        start = len(self._pending) if start < 0 else start
        return start - 1 if self._pending.endswith(" ", 0, start) else start

    def _release(self, until: int) -> str:
        released, self._pending = self._pending[:until], self._pending[until:]
        return released


def quotable(text: str) -> str:
    """Returns *text* without anything that looks like a marker of the answer: [7] becomes (7)."""
    return _MARKER.sub(lambda marker: f"({marker[0][1:-1]})", text)
