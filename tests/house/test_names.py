"""What things are called: no riddle nouns, and no name for two types. Checked from the code's own syntax."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.house.test_architecture import ROOT, sources

RIDDLES = {"told", "found", "asked", "came", "made", "wanted"}
"""Participles of which nobody can say what they stand for. The names of tests are sentences and may hold them."""

FIXED = {"NotFound", "FoundBy", "FoundByOut", "found_by", "total_found", "connection_made"}
"""What HTTP, the public API and asyncio call so."""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def words_of(name: str) -> set[str]:
    return set(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_"))


def names_in(path: Path) -> Iterator[tuple[str, int]]:
    """The types, functions, parameters, fields and variables that it defines, and their lines."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def types_in(path: Path) -> Iterator[str]:
    """Its classes and type aliases."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).endswith("TypeAlias"):
            yield ast.unparse(node.target)


def test_nothing_is_named_by_a_riddle_noun() -> None:
    tests = [*ROOT.glob("test_*.py"), *(ROOT / "tests").rglob("*.py")]
    riddles = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in sorted([*sources(), *tests])
        for name, line in names_in(path)
        if words_of(name) & RIDDLES and name not in FIXED and not name.startswith("test_")
    ]
    assert not riddles, f"name them by what they are (a message, an answer, hits): {riddles}"


def test_no_two_types_share_a_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(sources()):
        for name in types_in(path):
            places[name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}
