"""Parses filters, written in MongoDB's syntax, as typed objects, or as a mixture of both. Pure.

{"year": {"$gte": 2020}, "$or": [{"lang": "de"}, {"tags": {"$contains": "law"}}]}
{"type": "and", "filters": [{"type": "gte", "key": "year", "value": 2020}, ...]}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from errors import Invalid
from text.filters import (
    BUILT_IN,
    METADATA,
    ORDERED,
    PAGE,
    TIMES,
    All,
    AnyOf,
    Compares,
    Condition,
    Contains,
    Exists,
    Filter,
    Not,
    OneOf,
    conditions,
    identity,
    kind,
)
from text.nesting import depth
from times import in_utc

MAX_DEPTH = 64
MAX_CONDITIONS = 256
MAX_BYTES = 1 << 20


def parse(value: Any, *, param: str = "filters") -> Filter | None:
    """Parses a filter of a request; None if it has no conditions.

    Raises Invalid, which names the place in the request, for an unknown operator, a value that the operator does not
    accept, or a filter that is too large.
    """
    if value is None or value == {}:
        return None
    if depth(value) > MAX_DEPTH:
        raise Invalid(f"The filter is nested deeper than {MAX_DEPTH} objects and lists.", param=param)
    if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_BYTES:
        raise Invalid(f"The filter takes more than {MAX_BYTES} bytes as JSON.", param=param)
    return _filter(value, param)


def _filter(spelling: Any, at: str) -> Filter:
    if not isinstance(spelling, dict) or not spelling:
        raise Invalid(
            f'A filter is an object such as {{"year": {{"$gte": 2020}}}}, not {_excerpt(spelling)}.', param=at
        )
    if _is_typed(spelling):
        return _typed(spelling, at)
    return _all(_limited(at, (_entry(key, value, f"{at}.{key}") for key, value in spelling.items())))


def _is_typed(spelling: dict[str, Any]) -> bool:
    """Recognises incomplete typed filters too: read as conditions on fields, they would silently match nothing."""
    type_name = spelling.get("type")
    if isinstance(type_name, str):
        return bool(spelling.keys() & {"key", "filters", "filter"}) or (
            type_name in _CONDITIONS and "value" in spelling
        )
    inner = spelling.get("filters")
    is_group = isinstance(inner, list) and any(isinstance(each, dict) for each in inner)
    return "type" not in spelling and (is_group or spelling.keys() >= {"key", "value", "operator"})


def _entry(key: str, value: Any, at: str) -> Filter:
    """Parses one ``key: value`` of MongoDB's syntax."""
    if key in ("$and", "$or"):
        return _joined(key[1:], value, at)
    if key == "$not":
        return Not(_filter(value, at))
    if key.startswith("$"):
        raise _unknown(key, at, "$and, $or and $not join filters; others stand under a field's name")
    return _field(key, value, at)


def _field(key: str, value: Any, at: str) -> Filter:
    """Parses the conditions on one field: a value that it equals, or operators."""
    if not isinstance(value, dict):
        return _condition(key, "eq", value, at)
    if not value or not all(name.startswith("$") for name in value):
        raise Invalid(
            f'Under a field\'s name stands a value or operators such as {{"$gte": 2020}}, not {_excerpt(value)}. '
            f'A field within an object is written "{key}.field"; a whole object is compared with $eq.',
            param=at,
        )
    return _all(_limited(at, (_operation(key, name, operand, f"{at}.{name}") for name, operand in value.items())))


def _operation(key: str, name: str, operand: Any, at: str) -> Filter:
    if name == "$not":
        if not isinstance(operand, dict):
            raise Invalid(f"$not takes operators, not {_excerpt(operand)}.", param=at)
        return Not(_field(key, operand, at))
    if name[1:] not in _CONDITIONS:
        raise _unknown(name, at, f"there are {', '.join(f'${each}' for each in _CONDITIONS)} and $not")
    return _condition(key, name[1:], operand, at)


def _typed(spelling: dict[str, Any], at: str) -> Filter:
    operators = f"{', '.join(_CONDITIONS)}, and, or and not"
    if "type" not in spelling:
        raise Invalid(f"A filter with {', '.join(spelling)} needs a type: there are {operators}.", param=f"{at}.type")
    operator = spelling["type"]
    if operator in ("and", "or"):
        _require_keys(spelling, {"filters"}, at)
        return _joined(operator, spelling["filters"], f"{at}.filters")
    if operator == "not":
        _require_keys(spelling, {"filter"}, at)
        return Not(_filter(spelling["filter"], f"{at}.filter"))
    if operator not in _CONDITIONS:
        as_field = f'a field named type is asked for by {{"type": {{"$eq": {_excerpt(operator)}}}}}'
        raise _unknown(operator, f"{at}.type", f"there are {operators}; {as_field}")
    if operator == "exists":
        spelling = {"value": True, **spelling}
    _require_keys(spelling, {"key", "value"}, at)
    if not isinstance(spelling["key"], str):
        raise Invalid(f"key is a field's name, not {_excerpt(spelling['key'])}.", param=f"{at}.key")
    return _condition(spelling["key"], operator, spelling["value"], f"{at}.value")


def _require_keys(spelling: dict[str, Any], keys: set[str], at: str) -> None:
    if spelling.keys() != {"type"} | keys:
        names = ", ".join(sorted(keys))
        raise Invalid(f"A filter of type {spelling['type']!r} has type and {names}, and nothing else.", param=at)


def _joined(operator: str, filters: Any, at: str) -> Filter:
    if not isinstance(filters, list) or not filters:
        raise Invalid(f"{operator!r} takes a list of at least one filter, not {_excerpt(filters)}.", param=at)
    parts = _limited(at, (_filter(each, f"{at}.{number}") for number, each in enumerate(filters)))
    return _all(parts) if operator == "and" else AnyOf(tuple(parts))


def _limited(at: str, parts: Iterable[Filter]) -> list[Filter]:
    """Collects *parts*; raises Invalid at the first that exceeds MAX_CONDITIONS, without reading the others."""
    accepted, count = [], 0
    for part in parts:
        accepted.append(part)
        count += sum(1 for _ in conditions(part))
        if count > MAX_CONDITIONS:
            raise Invalid(
                f"The filter has more than {MAX_CONDITIONS} conditions; $in takes many values.",
                param=at.partition(".")[0],
            )
    return accepted


def _all(parts: list[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _condition(key: str, operator: str, operand: Any, at: str) -> Filter:
    try:
        return _CONDITIONS[operator](key, operand)
    except ValueError as error:
        message = f"{operator!r} of {key!r} takes {error}, not {_excerpt(operand)}."
        if key in BUILT_IN:
            message += f" Metadata of that name are asked for as {f'{METADATA}.{key}'!r}."
        raise Invalid(message, param=at) from error


def _one_of(key: str, values: list[Any]) -> Filter:
    return Condition(key, OneOf(frozenset(identity(_operand(key, value)) for value in values)))


def _in(key: str, operand: Any) -> Filter:
    if not isinstance(operand, list):
        raise ValueError("a list")
    return _one_of(key, operand)


def _compares(operator: str) -> Callable[[str, Any], Filter]:
    def condition(key: str, operand: Any) -> Filter:
        limit = _operand(key, operand)
        if kind(limit) not in ORDERED:
            raise ValueError("a number or a string")
        return Condition(key, Compares(operator, limit))

    return condition


def _exists(key: str, operand: Any) -> Filter:
    if not isinstance(operand, bool):
        raise ValueError("true or false")
    return Condition(key, Exists()) if operand else Not(Condition(key, Exists()))


def _contains(key: str, operand: Any) -> Filter:
    if key in TIMES or key == PAGE:
        raise ValueError("no value, as it is neither text nor list")
    return Condition(key, Contains(identity(operand), operand if isinstance(operand, str) else None))


def _operand(key: str, value: Any) -> Any:
    """Parses the operand of a time field; without a zone it is in UTC. RFC 3339 also allows a lowercase z."""
    if key not in TIMES:
        return value
    try:
        time = datetime.fromisoformat(str.upper(value))
        return in_utc(time.replace(tzinfo=UTC) if time.tzinfo is None else time)
    except (TypeError, ValueError) as error:
        raise ValueError('a time such as "2024-02-29T23:59:59Z"') from error


_CONDITIONS: Mapping[str, Callable[[str, Any], Filter]] = {
    "eq": lambda key, operand: _one_of(key, [operand]),
    "ne": lambda key, operand: Not(_one_of(key, [operand])),
    "gt": _compares("gt"),
    "gte": _compares("gte"),
    "lt": _compares("lt"),
    "lte": _compares("lte"),
    "in": _in,
    "nin": lambda key, operand: Not(_in(key, operand)),
    "exists": _exists,
    "contains": _contains,
}


def _unknown(operator: str, at: str, alternatives: str) -> Invalid:
    return Invalid(f"Unknown operator {operator!r}: {alternatives}.", param=at)


def _excerpt(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}…"
