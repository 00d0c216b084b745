"""Passages of real prose, without duplicates: the docstrings of Python and of the installed packages."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

WORDS = 60
MIN_WORDS = 40
MAX_CHARS = 480
MAX_MARKS = 80
QUESTION_WORDS = (3, 12)

_DOCSTRING = re.compile(r'"""(.{200,}?)"""', re.DOTALL)
_MARK = re.compile(r"[^\w\s]")


def passages(count: int) -> list[str]:
    """Returns *count* passages of MIN_WORDS to WORDS words, spread over all that exist."""
    candidates = list(dict.fromkeys(passage for text in _docstrings() for passage in _cut(text)))
    if len(candidates) < count:
        raise SystemExit(f"There are {len(candidates)} passages in the installed packages, and {count} are needed.")
    return [candidates[number * len(candidates) // count] for number in range(count)]


def questions(written: Sequence[str], seed: int) -> Callable[[], str]:
    """Returns a source of queries: consecutive words of a random passage."""
    rng = Random(seed)

    def question() -> str:
        words = rng.choice(written).split()
        count = rng.randint(*QUESTION_WORDS)
        start = rng.randrange(len(words) - count)
        return " ".join(words[start : start + count])

    return question


def _docstrings() -> Iterator[str]:
    standard, installed = (Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib"))
    for path in sorted({*standard.rglob("*.py"), *installed.rglob("*.py")}):
        yield from _DOCSTRING.findall(path.read_text(encoding="utf-8", errors="ignore"))


def _cut(text: str) -> Iterator[str]:
    """Cuts passages that fit into one chunk; most code is recognised and left out."""
    words = text.split()
    for start in range(0, len(words) - MIN_WORDS + 1, WORDS):
        chosen = words[start : start + WORDS]
        passage = " ".join(chosen)
        is_mostly_words = sum(word.rstrip(".,:;)").isalpha() for word in chosen) > 0.6 * len(chosen)
        if is_mostly_words and len(passage) <= MAX_CHARS and len(_MARK.findall(passage)) <= MAX_MARKS:
            yield passage
