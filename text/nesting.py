"""How deep does JSON go? Asked before anything walks through it by recursion. Pure."""

from __future__ import annotations

from typing import Any


def depth(value: Any) -> int:
    """How many containers stand in one another."""
    deep, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        deep += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return deep
