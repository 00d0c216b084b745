"""Translates Dify's conditions on metadata into filters of ours.

A value may come as text although the metadata hold a number, so a text that is a number means both. What is not, not
in or not contained matches where the key is missing too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from domain import Json
from errors import Invalid
from text.filter_spellings import MAX_CONDITIONS, parse
from text.filters import All, AnyOf, Condition, EndsWith, Filter, Not

NOTHING: tuple[Any, ...] = (None, "", [])
"""What counts as empty, beside a missing key."""

_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
_LAST, _BEFORE_SURROGATES, _AFTER_SURROGATES = "\U0010ffff", "\ud7ff", "\ue000"


def filter_of(conditions: Sequence[Json], *, is_any: bool) -> Filter | None:
    """Raises Invalid. *is_any*: one of the conditions suffices."""
    if len(conditions) > MAX_CONDITIONS:
        raise Invalid(f"There are more than {MAX_CONDITIONS} conditions.", param="metadata_condition.conditions")
    parts = [_condition(each, f"metadata_condition.conditions.{number}") for number, each in enumerate(conditions)]
    if len(parts) < 2:
        return parts[0] if parts else None
    return AnyOf(tuple(parts)) if is_any else All(tuple(parts))


def _condition(condition: Json, at: str) -> Filter:
    operator, value = condition["comparison_operator"], condition.get("value")
    translate = OPERATORS.get(operator)
    if translate is None:
        known = ", ".join(OPERATORS)
        raise Invalid(f"Unknown operator {operator!r}: there are {known}.", param=f"{at}.comparison_operator")
    names = condition["name"]
    try:
        parts = [translate(name, value) for name in ([names] if isinstance(names, str) else names)]
    except ValueError as error:
        raise Invalid(f"{operator!r} takes {error}.", param=f"{at}.value") from error
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))


def _typed(kind: str, name: str, value: Any) -> Filter:
    parsed = parse({"type": kind, "key": name, "value": value}, param="metadata_condition")
    assert parsed is not None
    return parsed


def _is(name: str, value: Any) -> Filter:
    return _typed("in", name, _spellings(value))


def _in(name: str, value: Any) -> Filter:
    """A text is a list with commas."""
    values = value if isinstance(value, list) else [part.strip() for part in _text(value).split(",")]
    return _typed("in", name, [each for one in values for each in _spellings(one)])


def _equals(name: str, value: Any) -> Filter:
    return _typed("eq", name, _number(value))


def _compares(kind: str) -> Callable[[str, Any], Filter]:
    return lambda name, value: _typed(kind, name, _number(value))


def _orders(kind: str) -> Callable[[str, Any], Filter]:
    """Of times: as ISO text, or as seconds."""

    def condition(name: str, value: Any) -> Filter:
        parts = [_typed(kind, name, each) for each in _spellings(value)]
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    return condition


def _contains(name: str, value: Any) -> Filter:
    return _typed("contains", name, _text(value))


def _starts(name: str, value: Any) -> Filter:
    """Between the prefix and the first text behind all that begin with it."""
    prefix = _text(value)
    end = prefix.rstrip(_LAST)
    first = _typed("gte", name, prefix)
    if not end:
        return first
    after = _AFTER_SURROGATES if end[-1] == _BEFORE_SURROGATES else chr(ord(end[-1]) + 1)
    return All((first, _typed("lt", name, end[:-1] + after)))


def _ends(name: str, value: Any) -> Filter:
    return Condition(name, EndsWith(_text(value)))


def _empty(name: str, _: Any) -> Filter:
    return AnyOf((_typed("exists", name, False), _typed("in", name, list(NOTHING))))


def _not(translate: Callable[[str, Any], Filter]) -> Callable[[str, Any], Filter]:
    return lambda name, value: Not(translate(name, value))


def _spellings(value: Any) -> list[Any]:
    """The text, and the number that it is."""
    number = _as_number(value)
    if isinstance(value, str):
        return [value] if number is None else [value, number]
    if number is None:
        raise ValueError("a text or a number")
    return [number, str(value)]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text")
    return value


def _number(value: Any) -> float:
    number = _as_number(value)
    if number is None:
        raise ValueError("a number")
    return number


def _as_number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return None
    return int(value) if value.lstrip("-").isdigit() else float(value)


OPERATORS: Mapping[str, Callable[[str, Any], Filter]] = {
    "contains": _contains,
    "not contains": _not(_contains),
    "start with": _starts,
    "end with": _ends,
    "is": _is,
    "is not": _not(_is),
    "in": _in,
    "not in": _not(_in),
    "empty": _empty,
    "not empty": _not(_empty),
    "=": _equals,
    "≠": _not(_equals),
    ">": _compares("gt"),
    "<": _compares("lt"),
    "≥": _compares("gte"),
    "≤": _compares("lte"),
    "before": _orders("lt"),
    "after": _orders("gt"),
}
