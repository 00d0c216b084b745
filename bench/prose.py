"""Passages that people wrote: the docstrings of this Python and of what is installed beside it, no two alike."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

WORDS = 80
FEWEST_WORDS = 40
LIBRARIES = ("sqlalchemy", "sklearn", "torch", "transformers", "matplotlib", "scipy", "numpy")

_DOCSTRING = re.compile(r'"""(.{200,}?)"""', re.DOTALL)


def passages(count: int) -> list[str]:
    """*count* of them, FEWEST_WORDS to WORDS words each, spread over all there are."""
    found = list(dict.fromkeys(passage for text in _docstrings() for passage in _cut(text)))
    if len(found) < count:
        raise SystemExit(f"There are {len(found)} passages in what is installed, and {count} are needed.")
    return [found[number * len(found) // count] for number in range(count)]


def _docstrings() -> Iterator[str]:
    standard, installed = (Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib"))
    for path in [*sorted(standard.glob("*.py")), *(each for name in LIBRARIES for each in _sources(installed / name))]:
        yield from _DOCSTRING.findall(path.read_text(encoding="utf-8", errors="ignore"))


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "tests" not in path.parts)


def _cut(text: str) -> Iterator[str]:
    """Code is left out as well as it can be told: prose is mostly words of letters."""
    words = text.split()
    for start in range(0, len(words) - FEWEST_WORDS + 1, WORDS):
        some = words[start : start + WORDS]
        if sum(word.rstrip(".,:;)").isalpha() for word in some) > 0.6 * len(some):
            yield " ".join(some)
