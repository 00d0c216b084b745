"""Texts that no two seeds share, and small helpers that tests of several tiers take."""

from __future__ import annotations

import random

from tests.support.service import Service

WORDS = ["river", "stone", "winter", "garden", "letter", "market", "signal", "copper", "window", "harbour", "engine"]


def prose(seed: int, sentences: int = 4) -> str:
    """A paragraph that no other seed makes."""
    rng = random.Random(seed)
    written = (" ".join(rng.choices(WORDS, k=9)).capitalize() + f" {seed}-{n}." for n in range(sentences))
    return " ".join(written)


def count_words(text: str) -> int:
    return len(text.split())


def fill(service: Service, count: int) -> None:
    service.batch({f"doc-{number:02d}": prose(number) for number in range(count)})


def never() -> None:
    """Nobody wants the job to stop."""
