"""Timing of the steps of a search."""

from __future__ import annotations

import time


class Laps:
    """A stopwatch: milliseconds by step. A step that ends twice counts both times."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def end(self, name: str) -> None:
        now = time.perf_counter()
        self.milliseconds[name] = self.milliseconds.get(name, 0.0) + 1000 * (now - self._since)
        self._since = now
