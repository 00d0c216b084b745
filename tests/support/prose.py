"""Texts that differ by seed, and small helpers for tests of several tiers."""

from __future__ import annotations

import random

from tests.support.service import Service

WORDS = ["river", "stone", "winter", "garden", "letter", "market", "signal", "copper", "window", "harbour", "engine"]


def prose(seed: int, sentences: int = 4) -> str:
    """Returns a paragraph that is unique to its seed."""
    rng = random.Random(seed)
    written = (" ".join(rng.choices(WORDS, k=9)).capitalize() + f" {seed}-{n}." for n in range(sentences))
    return " ".join(written)


def count_words(text: str) -> int:
    return len(text.split())


def fill(service: Service, count: int) -> None:
    service.batch({f"doc-{number:02d}": prose(number) for number in range(count)})


def never() -> None:
    """A job's stop check that never stops it."""
