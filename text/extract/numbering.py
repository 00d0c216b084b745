"""The numbers of list items: "3.", "b)", "iv."."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_VAL = f"{W}val"
_ROMAN = dict(m=1000, cm=900, d=500, cd=400, c=100, xc=90, l=50, xl=40, x=10, ix=9, v=5, iv=4, i=1)
_LEVELS = 9
_LARGEST = 1_000_000
_MAX_STYLE_DEPTH = 10
BULLET = "-"


def numeral(number: int, form: str) -> str:
    """Formats *number*. *form* is the name of letters or Roman numerals in Word or HTML; others are decimal."""
    if form in ("a", "A", "lowerLetter", "upperLetter"):
        text = _letters(number)
    elif form in ("i", "I", "lowerRoman", "upperRoman"):
        text = _roman(number)
    else:
        return f"{number:02d}" if form == "decimalZero" else str(number)
    return text.upper() if form[0] in "AIu" else text


def _letters(number: int) -> str:
    """Counts a to z, then aa, bb, as Word does."""
    return chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1) if 0 < number < 1000 else str(number)


def _roman(number: int) -> str:
    if not 0 < number < 5000:
        return str(number)
    text = ""
    for letters, value in _ROMAN.items():
        text += letters * (number // value)
        number %= value
    return text


@dataclass(slots=True)
class _Level:
    start: int = 1
    form: str = "decimal"
    label: str = ""
    is_legal: bool = False


@dataclass(slots=True)
class _WordList:
    """A list with the levels of its definition. Lists with the same *key* share their counts."""

    key: str
    levels: list[_Level]
    starts: dict[int, int] = field(default_factory=dict)
    of_styles: dict[str, int] = field(default_factory=dict)


class WordNumbers:
    """Numbers the list items of a Word document, paragraph by paragraph."""

    def __init__(self, numbering: Any, styles: Any) -> None:
        self._lists = _lists(numbering) if numbering is not None else {}
        self._of_style = _numbers_of_styles(styles) if styles is not None else {}
        self._counts: dict[str, list[int | None]] = {}
        self._begun: set[str] = set()

    def label(self, paragraph: Any, style: str | None) -> str | None:
        """Returns the paragraph's number as Word shows it, "-" for a bullet, None if it is not a list item."""
        of_style, level_of_style = self._of_style.get(style or "", ("0", 0))
        properties = paragraph.find(f"{W}pPr/{W}numPr")
        number = _value(properties, "numId") or of_style
        if number == "0":
            return None
        word_list = self._lists.get(number)
        if word_list is not None:
            level_of_style = word_list.of_styles.get(style or "", level_of_style)
        level = _int(_value(properties, "ilvl"), level_of_style)
        if word_list is None or not 0 <= level < len(word_list.levels):
            return BULLET
        return self._counted(number, word_list, level)

    def _counted(self, number: str, word_list: _WordList, level: int) -> str:
        counts = self._counts.setdefault(word_list.key, [None] * _LEVELS)
        if number not in self._begun:
            self._begun.add(number)
            for each in word_list.starts:
                counts[each] = None
        before = counts[level]
        start = word_list.starts.get(level, word_list.levels[level].start)
        counts[level] = start if before is None else min(before + 1, _LARGEST)
        counts[level + 1 :] = [None] * (_LEVELS - level - 1)
        return _label(word_list, counts, level)


def _label(word_list: _WordList, counts: list[int | None], level: int) -> str:
    own = word_list.levels[level]
    if own.form == "bullet":
        return BULLET

    def replaced(match: re.Match[str]) -> str:
        at = int(match.group(1)) - 1
        of = word_list.levels[at] if at < len(word_list.levels) else own
        count = counts[at] if counts[at] is not None else of.start
        return numeral(count or 0, "decimal" if own.is_legal else of.form)

    return re.sub(r"%([1-9])", replaced, own.label if own.form != "none" else re.sub("%[1-9]", "", own.label)).strip()


def _lists(numbering: Any) -> dict[str, _WordList]:
    abstract = {each.get(f"{W}abstractNumId"): each for each in numbering.iter(f"{W}abstractNum")}
    of_style = {_value(each, "styleLink"): each for each in abstract.values() if _value(each, "styleLink")}
    lists = {}
    for each in numbering.iter(f"{W}num"):
        key = _value(each, "abstractNumId")
        definition = abstract.get(key)
        link = _value(definition, "numStyleLink")
        definition = of_style.get(link, definition) if link else definition
        word_list = _WordList(key or "", [_Level(form="bullet") for _ in range(_LEVELS)])
        for level in definition.iter(f"{W}lvl") if definition is not None else ():
            _define(word_list, level)
        for override in each.iter(f"{W}lvlOverride"):
            for level in override.iter(f"{W}lvl"):
                _define(word_list, level)
            if start := _value(override, "startOverride"):
                word_list.starts[_int(override.get(f"{W}ilvl"), 0)] = _int(start, 1)
        lists[each.get(f"{W}numId")] = word_list
    return lists


def _define(word_list: _WordList, level: Any) -> None:
    at = _int(level.get(f"{W}ilvl"), 0)
    if 0 <= at < _LEVELS:
        form, label = _value(level, "numFmt") or "decimal", _value(level, "lvlText") or ""
        word_list.levels[at] = _Level(_int(_value(level, "start"), 1), form, label, level.find(f"{W}isLgl") is not None)
        if style := _value(level, "pStyle"):
            word_list.of_styles[style] = at


def _numbers_of_styles(styles: Any) -> dict[str, tuple[str, int]]:
    """Returns the list and the level of each style that sets them, itself or through the style it is based on."""
    by_id = {style.get(f"{W}styleId"): style for style in styles.iter(f"{W}style")}
    return {name: number for name, style in by_id.items() if (number := _number_of(style, by_id))}


def _number_of(style: Any, by_id: dict[str, Any]) -> tuple[str, int] | None:
    level: int | None = None
    for base in _bases(style, by_id):
        properties = base.find(f"{W}pPr/{W}numPr")
        if level is None and _value(properties, "ilvl"):
            level = _int(_value(properties, "ilvl"), 0)
        if number := _value(properties, "numId"):
            return number, level or 0
    return None


def _bases(style: Any, by_id: dict[str, Any]) -> Iterator[Any]:
    for _ in range(_MAX_STYLE_DEPTH):
        if style is None:
            return
        yield style
        style = by_id.get(_value(style, "basedOn") or "")


def _value(parent: Any, name: str) -> str | None:
    child = parent.find(f"{W}{name}") if parent is not None else None
    return child.get(_VAL) if child is not None else None


def _int(text: str | None, otherwise: int) -> int:
    try:
        return int(text or "")
    except ValueError:
        return otherwise
