"""How many texts a step embeds, so that it takes seconds whatever the model, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

FIRST_TEXTS, FEWEST_TEXTS, MOST_TEXTS = 32, 4, 128
STEP_SECONDS = 2.0
_NEWEST_SHARE = 0.5


class Pace:
    """The speed of one run of a job, as a moving average that follows the length of the texts."""

    def __init__(self) -> None:
        self.texts_per_second: float | None = None

    @property
    def texts_per_step(self) -> int:
        if self.texts_per_second is None:
            return FIRST_TEXTS
        return min(max(int(self.texts_per_second * STEP_SECONDS), FEWEST_TEXTS), MOST_TEXTS)

    @contextmanager
    def measured(self, texts: int) -> Iterator[None]:
        """The body embeds that many texts."""
        started = time.monotonic()
        yield
        if texts:
            self.add(texts, time.monotonic() - started)

    def add(self, texts: int, seconds: float) -> None:
        newest = texts / max(seconds, 1e-6)
        average = newest if self.texts_per_second is None else self.texts_per_second
        self.texts_per_second = _NEWEST_SHARE * newest + (1 - _NEWEST_SHARE) * average

    def seconds_left(self, texts: int) -> int | None:
        """None: nothing was measured yet."""
        return None if self.texts_per_second is None else round(texts / self.texts_per_second)
