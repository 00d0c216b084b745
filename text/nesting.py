"""Measures the depth of a JSON value and lists its strings, without recursion. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def depth(value: Any) -> int:
    """Returns how many containers are nested in one another."""
    deep, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        deep += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return deep


def strings_in(value: Any) -> Iterator[str]:
    """Yields every key, and every value that is a string."""
    level = [value]
    while level:
        yield from (each for each in level if isinstance(each, str))
        level = [inner for each in level if isinstance(each, dict | list) for inner in _inside(each)]


def _inside(container: dict[str, Any] | list[Any]) -> Iterator[Any]:
    if isinstance(container, dict):
        yield from container
        yield from container.values()
    else:
        yield from container
