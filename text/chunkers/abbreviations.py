"""Full stops that do not end a sentence: of abbreviations, initials, ordinals and numbered items.

In doubt a full stop ends nothing: two sentences in one unit do less harm than half of one.
"""

from __future__ import annotations

import re

_WINDOW_CHARS = 24
_LAST_WORD = re.compile(r"(?:^|[\s(\[\"'“„‘«/-])([^\s(\[\"'“„‘«/-]+)\.$")  # noqa: RUF001 (these very marks are meant)
_NEXT_WORD = re.compile(r"[\s\"'“„‘«(\[]*([^\W_]+)")  # noqa: RUF001 (likewise)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[A-ZÀ-ÖØ-ÞΑ-ΩА-Я]")
_ORDINAL = re.compile(r"\d{1,2}")


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Never the last word of a sentence.
_BEFORE = _words("e.g i.e eg ie viz vs cf z.b d.h u.a s.o s.u bzw vgl inkl exkl zzgl evtl ggf p.ej env c.-à-d m.a.w")
# Not the last word before a number.
_BEFORE_NUMBERS = _words("""
    no nos nr nrs num fig figs eq eqs vol vols p pp ch chap sec sect § art arts abs ziff tab app approx ca cca circa max
    min bd tel ext núm pág págs jan feb mar apr jun jul aug sep sept oct nov dec mrz okt dez rs fr s st ab seit
""")
# May be the last word of a sentence, and are if the next word can only begin one.
_WITHIN = _words("""
    mr mrs ms dr prof hon rev fr st sgt capt col gen lt maj gov sen rep messrs mme mlle dott sra srta dra hr sr jr mt ft
    a.m p.m u.s u.k e.u u.n u.s.a etc al inc ltd co corp bros dept est univ assn str abt geb gest mio mrd tsd usw std
    approx ca s.a s.l gmbh ph.d b.sc m.sc b.a m.a d.c n.b p.s ave blvd rd hrsg ed eds
""")
_BEGIN = _words("""
    the a an this that these those it its he she they we you i his her their our your my there here what who when where
    which why how if in on at by for from with without as to of and but or so then however also not all some many most
    each every both after before since while although because during under over please see do does is are was were
    der die das ein eine es er sie wir ihr ich dies diese dieser dieses wenn im am an auf bei mit ohne für von zu aus
    und aber oder doch auch nach vor seit während weil dann hier dort alle jede jeder bitte le la les un une il elle ils
    elles nous vous je ce cette ces si dans sur avec pour par mais et ou el los las uno esto este esta en con por para
    pero y se
""")
_AFTER_ORDINALS = _words("""
    januar jänner februar märz april mai juni juli august september oktober november dezember jahrhundert jahrhunderts
    jahrtausend weltkrieg weltkriegs auflage ausgabe tag klasse stock etage platz kapitel teil quartal woche runde
    semester geburtstag jahrestag lebensjahr januari februari mars maj augusti oktober juni desember
""")


def ends_sentence(text: str, stop: int, *, begin: int, after: int) -> bool:
    """Does the full stop before *stop* end the sentence that began at *begin*? *after* is behind its closing quotes."""
    following = _NEXT_WORD.match(text, after, after + 2 * _WINDOW_CHARS)
    next_word = following.group(1) if following else ""
    if text[after + 1 : after + 2].islower() or next_word[:1].islower():
        return False
    start = max(begin, stop - _WINDOW_CHARS)
    last = _LAST_WORD.search(text[start:stop])
    if last is None:
        return True
    is_first = start == begin and not text[start : start + last.start()].strip()
    return not _continues(last.group(1), next_word, is_first=is_first)


def _continues(word: str, after: str, *, is_first: bool) -> bool:
    small = word.casefold()
    if is_first and (_ORDINAL.fullmatch(word) or (len(word) == 1 and word.isalpha())):
        return True  # the number or letter of an item
    if small in _BEFORE or (small in _BEFORE_NUMBERS and after[:1].isdecimal()):
        return True
    if _ORDINAL.fullmatch(word):
        return after.casefold() in _AFTER_ORDINALS
    is_letter = len(word) == 1 and word.isalpha()  # as in z. B.
    may_go_on = small in _WITHIN or is_letter or _INITIALS.fullmatch(word) is not None
    return may_go_on and after != "" and after.casefold() not in _BEGIN
