# ruff: noqa: RUF001, RUF002
"""Strips the article, the prefixed "and" and common endings from Arabic words. Pure.

light10 of Larkey, Ballesteros and Connell, "Light Stemming for Arabic Information Retrieval" (2007). Expects folded
words: ة is ه, ى is ي, and alif has no hamza.
"""

from __future__ import annotations

import re

_ARABIC = re.compile("[\u0620-\u06ff]")
_ARTICLES = ("وال", "بال", "كال", "فال", "ال", "لل")
_ENDINGS = ("ها", "ان", "ات", "ون", "ين", "يه", "ه", "ي")
_MIN_STEM_CHARS = 2
_MIN_WORD_AFTER_AND = 3


def is_arabic(word: str) -> bool:
    return _ARABIC.match(word) is not None


def light_stem(word: str) -> str:
    if word.startswith("و") and len(word) > _MIN_WORD_AFTER_AND:
        word = word[1:]
    for article in _ARTICLES:
        if word.startswith(article) and len(word) >= len(article) + _MIN_STEM_CHARS:
            word = word.removeprefix(article)
            break
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) >= len(ending) + _MIN_STEM_CHARS:
            word = word.removesuffix(ending)
    return word
