"""Makes codes and names match with and without spaces and hyphens. Pure.

A code written apart is also indexed as one word: ``XR 22`` as xr, 22 and xr22, so that it matches XR22 both ways. A
code written as one word stays one word: XR22 does not match every text that contains XR and 22.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST_CODE = 34
"""The length of the longest IBAN."""
_MIN_DIGITS = 6
"""Adjacent numbers are joined, as in a phone or account number, only if together they have this many digits."""
_MIN_IBAN_CHARS = 15

_BORDER_BEFORE, _BORDER_AFTER = r"(?<![^\W_])", r"(?![^\W_])"
_HYPHEN = r"[-_\u2010-\u2013]"
_BETWEEN = r"(?:[ /_\-\u2010-\u2013]|\) ?)"
_LETTERS = r"[a-z\u00df-\u02af\u0370-\u052f]"
_PIECE = rf"(?:{_LETTERS}|[0-9])+"
_NUMBER = rf"{_LETTERS}*[0-9](?:{_LETTERS}|[0-9])*"

_NUMBERS = re.compile(
    rf"{_BORDER_BEFORE}(?:({_LETTERS}{{1,8}}){_BETWEEN})?({_NUMBER}(?:{_BETWEEN}{_NUMBER})*)"
    rf"(?:{_BETWEEN}({_LETTERS}))?{_BORDER_AFTER}"
)
_HYPHENED = re.compile(rf"{_BORDER_BEFORE}{_PIECE}(?:{_HYPHEN}{_PIECE})+{_BORDER_AFTER}")
_IBAN = re.compile(
    rf"{_BORDER_BEFORE}[a-z]{{2}}[0-9]{{2}}(?:[ -][a-z0-9]{{4}}){{2,7}}(?:[ -][a-z0-9]{{1,3}})?{_BORDER_AFTER}"
)
_PIECES = re.compile(_PIECE)
_DIGIT = re.compile("[0-9]")

_INCREMENT = re.compile(rf"({_LETTERS}+)\+\+")
_SHARP = re.compile(rf"(?<![\w&])([a-z])[#\u266f](?!{_LETTERS})")
_DOT_NET = re.compile(rf"(?<!\w)\.net(?!{_LETTERS})")


def with_names(folded: str) -> str:
    """Spells C++, C# and .NET as words: cplusplus, csharp, dotnet. A longer word is kept as well (Notepad++)."""
    if "++" in folded:
        folded = _INCREMENT.sub(_incremented, folded)
    if "#" in folded or "\u266f" in folded:
        folded = _SHARP.sub(r"\1sharp ", folded)
    return _DOT_NET.sub(" dotnet ", folded) if ".net" in folded else folded


def joined_codes(folded: str) -> list[str]:
    """Joins what *folded* has apart: numbers with their prefix or suffix, IBANs and hyphenated words."""
    codes: dict[tuple[int, str], None] = {}
    if _DIGIT.search(folded):
        for pattern, joins in ((_NUMBERS, _of_numbers), (_IBAN, _of_iban)):
            for match in pattern.finditer(folded):
                codes.update(((match.start(), joined), None) for joined in joins(match))
    for match in _HYPHENED.finditer(folded):
        pieces = _PIECES.findall(match.group())
        if _DIGIT.search(match.group()) or min(map(len, pieces)) == 1:
            codes[match.start(), "".join(pieces)] = None
    return [joined for _, joined in codes if _is_code(joined)]


def _incremented(match: re.Match[str]) -> str:
    word = match.group(1)
    return f"{word}plusplus " if len(word) == 1 else f"{word} {word}plusplus "


def _of_numbers(match: re.Match[str]) -> Iterator[str]:
    """Joins the first number with one, two, … of those after it: where the code ends is not known."""
    before, numbers, after = match.group(1) or "", _PIECES.findall(match.group(2)), match.group(3)
    for count in range(1, len(numbers) + 1):
        together = "".join(numbers[:count])
        if before:
            yield before + together
        if count > 1:
            yield together
        if len(before + together) > LONGEST_CODE:
            return
    if after:
        yield together + after
        if before:
            yield before + together + after


def _of_iban(match: re.Match[str]) -> Iterator[str]:
    pieces = _PIECES.findall(match.group())
    for count in range(3, len(pieces) + 1):
        together = "".join(pieces[:count])
        if len(together) >= _MIN_IBAN_CHARS:
            yield together


def _is_code(joined: str) -> bool:
    return len(joined) <= LONGEST_CODE and (not joined.isdecimal() or len(joined) >= _MIN_DIGITS)
