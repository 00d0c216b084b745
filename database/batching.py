"""Splits long lists of parameters into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def batched(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Slices of *size* items; the last may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
