"""The words of a text as the keyword index knows them, and those of a question. Pure: no IO, no clock.

Upper and lower case, accents and endings make no difference (folding, then Porter's stemmer, which leaves words of
other languages nearly as they are). Scripts that put no spaces between words are cut by ICU's dictionaries, at
index and query time alike. Nothing that somebody writes is syntax: what is neither letter nor digit only parts words.

Whoever changes what words() gives has to have all keyword rows written anew: by a migration that sets every
keywords_seq to -1 and asks for the rebuilds.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

import Stemmer
from icu4py.breakers import WordBreaker

from text.stopwords import stop_words

LONGEST_WORD = 64
MOST_QUERY_WORDS = 256

# Scripts without spaces, or with vowels that are marks: Hebrew to Myanmar, Khmer to Balinese, CJK, Hangul, all
# beyond the first plane.
_COMPLEX = "\u0590-\u109f\u1700-\u1aff\u3005-\u3007\u3031-\u3035\u3040-\u31ff\u3400-\u9fff\ua000-\uabff\uac00-\ud7ff"
_COMPLEX += "\uf900-\ufaff\ufb1d-\ufdff\ufe70-\ufefc\U00010000-\U0003ffff"
_RUNS = re.compile(rf"([^\W_{_COMPLEX}]+)|([{_COMPLEX}]+)")
_SIMPLE = re.compile(r"[^\W_]+")
_IDEOGRAPHIC = re.compile(
    "[\u3005-\u3007\u3040-\u31ff\u3400-\u9fff\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]{3,}"
)
# Accents, the points of Hebrew and Arabic vowels, Arabic's stretch, and the hyphen that shows at a line's end alone.
_MARKS = re.compile(
    "[\u00ad\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed]"
)
_SIGNS = str.maketrans("\u2122\u2120\u05f3\u05f4", "    ")
"""What folding would make letters of a name (™, ℠), and what Hebrew writes for quotation marks."""
_TAKEN_APART = {"\u0e4d\u0e32": "\u0e33", "\u0ecd\u0eb2": "\u0eb3"}
"""The vowel am of Thai and Lao, which Unicode does not put together again."""


def words(text: str) -> list[str]:
    """Every word of *text* in order, stemmed, repeats kept."""
    return _stemmed(_cut(_folded(text)))


def query_words(text: str) -> Counter[str]:
    """What is looked for, and how often it is said. Stop words are left out unless there is nothing else."""
    cut = _cut(_folded(text))
    stops = stop_words(cut)
    telling = Counter(_stemmed([word for word in cut if word not in stops] or cut))
    return Counter(dict(telling.most_common(MOST_QUERY_WORDS)))


def _folded(text: str) -> str:
    """Composed again after the accents are gone: ICU's dictionaries know whole syllables."""
    folded = text.casefold()
    if folded.isascii():
        return folded
    bare = _MARKS.sub("", unicodedata.normalize("NFKD", folded.translate(_SIGNS)))
    composed = unicodedata.normalize("NFKC", bare).casefold()  # again: ㎒ becomes MHz
    for apart, together in _TAKEN_APART.items():
        composed = composed.replace(apart, together)
    return composed


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
    return [stem or word for stem, word in zip(stems, cut, strict=True)]  # it leaves nothing of an s
