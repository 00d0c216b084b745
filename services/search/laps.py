"""How long each step of a search took."""

from __future__ import annotations

import time


class Laps:
    """Milliseconds by the step's name; what is ended twice counts twice."""

    def __init__(self) -> None:
        self.ended: dict[str, float] = {}
        self._since = time.perf_counter()

    def end(self, name: str) -> None:
        now = time.perf_counter()
        self.ended[name] = self.ended.get(name, 0.0) + 1000 * (now - self._since)
        self._since = now
