"""Folds text for comparison: one case, no accents, one set of digits. Pure."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator

# Accents, Hebrew and Arabic vowel points, Arabic's tatweel, the soft hyphen, and the replacement character.
_MARKS = re.compile(
    "[\ufffd\u00ad\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed]"
)
_RAISED = re.compile(r"(?<=\d)(?=[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2150-\u215f])")
"""Where a power or a fraction follows a number: 10⁶ is not 106, and 3½ is not 31 and 2."""
_RECOMPOSED = {"\u0e4d\u0e32": "\u0e33", "\u0ecd\u0eb2": "\u0eb3"}
"""The vowel am of Thai and Lao, which NFKC does not recompose."""

_WITHOUT_DECOMPOSITION = {
    **{"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ı": "i", "ŋ": "n"},  # noqa: RUF001
    **{"æ": "ae", "œ": "oe", "þ": "th"},
    **{
        "\u0629": "\u0647",
        "\u0649": "\u064a",
        "\u06cc": "\u064a",
        "\u06a9": "\u0643",
    },  # Arabic's spellings of one letter
    **dict.fromkeys("\u2122\u2120\u05f3\u05f4", " "),  # folding would make letters of ™ and ℠; Hebrew quotes with these
}
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
_HAS_UMLAUT = re.compile(r"[^\W\d_]*[äöüøå][^\W\d_]*")
_SPELLED_OUT = re.compile("(?<![aeiouq])(?:([aou])e|(a)a)")
_MAY_BE_SPELLED_OUT = re.compile(r"[^\W\d_]{5,}")


def _digits() -> Iterator[tuple[str, str]]:
    """Yields the decimal digits of every script, each with its ASCII digit.

    They stand together, from 0 to 9, so that a look at every tenth character finds them all.
    """
    for code in range(130, sys.maxunicode + 1, 10):
        if unicodedata.category(chr(code)) == "Nd":
            zero = code - unicodedata.decimal(chr(code))
            yield from ((chr(zero + digit), str(digit)) for digit in range(10))


_FOLDS = str.maketrans({**_WITHOUT_DECOMPOSITION, **dict(_digits())})


def folded(text: str) -> str:
    """Folds *text*; recomposes it once the accents are gone, because ICU's dictionaries contain composed syllables."""
    small = text.casefold()
    if small.isascii():
        return small
    bare = _MARKS.sub("", unicodedata.normalize("NFKD", _RAISED.sub(" ", small.translate(_FOLDS))))
    composed = unicodedata.normalize("NFKC", bare).casefold().translate(_FOLDS)  # again: ㎒ has become MHz, and ǽ æ
    for parts, whole in _RECOMPOSED.items():
        composed = composed.replace(parts, whole)
    return composed


def other_spellings(text: str) -> Iterator[str]:
    """Yields the alternative spellings of words with umlauts, folded: Mueller for Müller, and vice versa."""
    small = unicodedata.normalize("NFC", text.casefold())
    for word in _HAS_UMLAUT.findall(small):
        yield folded(word.translate(_UMLAUTS))
    for word in _MAY_BE_SPELLED_OUT.findall(small):
        shorter = _SPELLED_OUT.sub(r"\1\2", word)
        if shorter != word:
            yield folded(shorter)
