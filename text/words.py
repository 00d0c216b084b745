"""Tokenizes texts and queries for the keyword index. Pure: no IO, no clock.

Case, accents and endings are ignored: words are folded, then stemmed by Porter's stemmer, which hardly changes words
of other languages; Arabic loses its article and endings. Codes and abbreviations keep their endings: 5S is not 5, GPS
not GP. Scripts without spaces are segmented by ICU's dictionaries, at index and query time alike. There is no query
syntax: characters other than letters and digits only separate words, except in the names of text/codes.py.

A change of words() needs a migration that sets every keywords_seq to -1 and queues the rebuilds.
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
MAX_QUERY_WORDS = 256

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
    """Returns every word of *text*, stemmed, in order and with repeats; then abbreviations and joined codes."""
    plain = with_names(folded(text))
    return [*_stemmed(_cut(plain)), *_abbreviations(text), *joined_codes(plain)]


def count_words(text: str) -> int:
    """Counts the words of *text* as they are cut, without the joined codes and abbreviations that words() adds."""
    return len(_cut(folded(text)))


def query_words(text: str) -> Counter[str]:
    """Counts the words of a query. Stop words are dropped unless the query has no other words.

    Words that may be spelled with ä or ae are included in both spellings.
    """
    plain = with_names(folded(text))
    cut = _cut(plain)
    stops = stop_words(cut) - _capitals(text)
    counts = Counter(_stemmed([word for word in cut if word not in stops] or cut))
    counts.update(joined_codes(plain))
    for other in (*_abbreviations(text), *_stemmed(list(other_spellings(text)))):
        counts.setdefault(other, 1)
    return Counter(dict(counts.most_common(MAX_QUERY_WORDS)))


def _capitals(text: str) -> frozenset[str]:
    """Returns words in capitals, unless all are: IT and WHO are then names, not stop words."""
    return frozenset() if text.isupper() else frozenset(map(str.casefold, _CAPITALS.findall(text)))


def _abbreviations(text: str) -> Iterator[str]:
    """Yields abbreviations that the stemmer would change (AIDS is not aid), and PC for PCs, which it would not."""
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
    """Yields the words that ICU finds; for a long one in Chinese, Japanese or Korean, its bigrams too.

    Segmentation depends on context, and Korean words include their endings: bigrams match regardless.
    """
    for segment in WordBreaker(run, "en"):
        if any(map(str.isalnum, segment)):
            yield segment[:LONGEST_WORD]
            if _IDEOGRAPHIC.fullmatch(segment):
                yield from (segment[start : start + 2] for start in range(len(segment) - 1))


def _stemmed(cut: list[str]) -> list[str]:
    # A new one each time, which costs a microsecond: a stemmer caches and is not thread-safe.
    stems: list[str] = Stemmer.Stemmer("porter").stemWords(cut)
    return [_stem(word, stem) for word, stem in zip(cut, stems, strict=True)]


def _stem(word: str, stem: str) -> str:
    if stem == word:
        return word if word.isascii() or not is_arabic(word) else light_stem(word)
    if (len(word) <= _SHORT and word[-1] == "s") or _DIGITS.search(word):
        return word
    return stem if len(stem) > 2 else f"{stem}e"  # use, used and using are no "us"
