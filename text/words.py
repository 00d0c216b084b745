"""The words of a text as the keyword index knows them, and those of a question. Pure: no IO, no clock.

Upper and lower case, accents and endings make no difference (folding, then Porter's stemmer, which leaves words of
other languages nearly as they are; Arabic loses its article and endings). Codes and abbreviations keep their endings:
5S is not 5, GPS not GP. Scripts that put no spaces between words are cut by ICU's dictionaries, at index and query
time alike. Nothing that somebody writes is syntax: what is neither letter nor digit only parts words, but for the
names in text/codes.py.

Whoever changes what words() gives has to have all keyword rows written anew: by a migration that sets every
keywords_seq to -1 and asks for the rebuilds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import Stemmer
from icu4py.breakers import WordBreaker

from text.arabic import is_arabic, light_stem
from text.codes import joined_codes, with_names
from text.folding import folded, other_spellings
from text.stopwords import stop_words

LONGEST_WORD = 64
MOST_QUERY_WORDS = 256

# Scripts without spaces, or with vowels that are marks: Hebrew to Myanmar, Khmer to Balinese, CJK, Hangul, all
# beyond the first plane.
_COMPLEX = "\u0590-\u109f\u1700-\u1aff\u3005-\u3007\u3031-\u3035\u3040-\u31ff\u3400-\u9fff\ua000-\uabff\uac00-\ud7ff"
_COMPLEX += "\uf900-\ufaff\ufb1d-\ufdff\ufe70-\ufefc\U00010000-\U0003ffff"
_RUNS = re.compile(rf"([^\W_{_COMPLEX}]+)|([{_COMPLEX}]+)")
_DIGITS = re.compile("[0-9]")
_SIMPLE = re.compile(r"[^\W_]+")
_IDEOGRAPHIC = re.compile(
    "[\u3005-\u3007\u3040-\u31ff\u3400-\u9fff\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]{3,}"
)
_ABBREVIATION = re.compile(r"\b[A-Z]{4,5}\b")
_CAPITALS = re.compile(r"\b[A-Z]{2,5}\b")
_FEW_CAPITALS = re.compile(r"\b[A-Z]{2}s\b")
_SHORT = 3


def words(text: str) -> list[str]:
    """Every word of *text* in order, stemmed, repeats kept; then what else it is found by."""
    plain = with_names(folded(text))
    return [*_stemmed(_cut(plain)), *_abbreviations(text), *joined_codes(plain)]


def query_words(text: str) -> Counter[str]:
    """What is looked for, and how often it is said. Stop words are left out unless there is nothing else.

    What may be spelled with ä or ae is looked for as both.
    """
    plain = with_names(folded(text))
    cut = _cut(plain)
    stops = stop_words(cut) - _capitals(text)
    counts = Counter(_stemmed([word for word in cut if word not in stops] or cut))
    counts.update(joined_codes(plain))
    for other in (*_abbreviations(text), *_stemmed(list(other_spellings(text)))):
        counts.setdefault(other, 1)
    return Counter(dict(counts.most_common(MOST_QUERY_WORDS)))


def _capitals(text: str) -> frozenset[str]:
    """IT and WHO are names where other words have small letters."""
    return frozenset() if text.isupper() else frozenset(map(str.casefold, _CAPITALS.findall(text)))


def _abbreviations(text: str) -> Iterator[str]:
    """Those that a stemmer takes for plurals, as they are: AIDS is no aid. And PC for PCs, which it leaves alone."""
    abbreviations = _ABBREVIATION.findall(text)
    for word, stem in zip(abbreviations, _stemmed(list(map(str.casefold, abbreviations))), strict=True):
        if word.casefold() != stem:
            yield word.casefold()
    for plural in _FEW_CAPITALS.findall(text):
        yield plural[:2].casefold()


def _cut(folded: str) -> list[str]:
    if folded.isascii():
        return [word[:LONGEST_WORD] for word in _SIMPLE.findall(folded)]
    cut: list[str] = []
    for simple, joined in _RUNS.findall(folded):
        cut += [simple[:LONGEST_WORD]] if simple else _segments(joined)
    return cut


def _segments(run: str) -> Iterator[str]:
    """The dictionary's words; of a long one in Chinese, Japanese or Korean its pairs too.

    Where a word is cut depends on what stands around it, and Korean endings are part of it: pairs are found anyway.
    """
    for segment in WordBreaker(run, "en"):
        if any(map(str.isalnum, segment)):
            yield segment[:LONGEST_WORD]
            if _IDEOGRAPHIC.fullmatch(segment):
                yield from (segment[start : start + 2] for start in range(len(segment) - 1))


def _stemmed(cut: list[str]) -> list[str]:
    # Made anew: a stemmer keeps what it stems and is not for several threads. It costs a microsecond.
    stems: list[str] = Stemmer.Stemmer("porter").stemWords(cut)
    return [_stem(word, stem) for word, stem in zip(cut, stems, strict=True)]


def _stem(word: str, stem: str) -> str:
    if stem == word:
        return word if word.isascii() or not is_arabic(word) else light_stem(word)
    if (len(word) <= _SHORT and word[-1] == "s") or _DIGITS.search(word):
        return word
    return stem if len(stem) > 2 else f"{stem}e"  # use, used and using are no "us"
