"""An independent implementation of filters as an oracle, and strategies for random filters."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Expression = tuple[Any, ...]
"""("and" | "or", expressions), ("not", expression), or (operator, key, value)."""

NOTHING = object()
NUMBERS = [0, 1, 2, -1, 1.0, 0.5, -0.0, 2**53, 2**53 + 1, float(2**53), 10**30]
STRINGS = ["", "1", "a", "ab", "true", "null", "é", "e\u0301", "日本", "a.b", "$eq", 'quote"\\']
SCALARS = [None, True, False, *NUMBERS, *STRINGS]
KEYS = ["a", "b", "a.b", "ключ", "a b", "$odd", "type", "deep"]
OPERATORS = ["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "exists", "contains"]

scalars = st.sampled_from(SCALARS)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.dictionaries(st.sampled_from(["b", "c", "b.c"]), st.one_of(scalars, st.lists(scalars, max_size=2)), max_size=2),
)
metadata = st.dictionaries(st.sampled_from(KEYS), values, max_size=5)
query_keys = st.sampled_from([*KEYS, "a.b.c", "deep.b", "deep.b.c", "metadata.a", "nobody has it"])


def _operand(operator: str) -> st.SearchStrategy[Any]:
    if operator in ("in", "nin"):
        return st.lists(values, max_size=4)
    if operator == "exists":
        return st.booleans()
    return st.sampled_from([*NUMBERS, *STRINGS]) if operator in ("gt", "gte", "lt", "lte") else values


conditions = st.sampled_from(OPERATORS).flatmap(lambda name: st.tuples(st.just(name), query_keys, _operand(name)))
expressions: st.SearchStrategy[Expression] = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("not"), inner),
    ),
    max_leaves=5,
)


def in_mongo(expression: Expression) -> dict[str, Any]:
    match expression:
        case ("not", inner):
            return {"$not": in_mongo(inner)}
        case (operator, parts):
            return {f"${operator}": [in_mongo(part) for part in parts]}
        case (operator, key, value):
            return {key if key != "$odd" else "metadata.$odd": {f"${operator}": value}}
    raise AssertionError


def in_objects(expression: Expression) -> dict[str, Any]:
    match expression:
        case ("not", inner):
            return {"type": "not", "filter": in_objects(inner)}
        case (operator, parts):
            return {"type": operator, "filters": [in_objects(part) for part in parts]}
        case (operator, key, value):
            return {"type": operator, "key": key, "value": value}
    raise AssertionError


def is_match(expression: Expression, fields: dict[str, Any]) -> bool:
    """Evaluates a filter; *fields* is the metadata, with built-in fields added under their names."""
    match expression:
        case ("not", inner):
            return not is_match(inner, fields)
        case ("and", parts):
            return all(is_match(part, fields) for part in parts)
        case ("or", parts):
            return any(is_match(part, fields) for part in parts)
        case (operator, key, operand):
            return _holds(operator, _value(fields, key.removeprefix("metadata.")), operand)
    raise AssertionError


def _holds(operator: str, value: Any, operand: Any) -> bool:
    if operator in ("ne", "nin"):
        return not _holds({"ne": "eq", "nin": "in"}[operator], value, operand)
    if operator == "exists":
        return bool((value is not NOTHING) == operand)
    if value is NOTHING:
        return False
    if operator in ("eq", "in"):
        return any(_same(value, each) for each in (operand if operator == "in" else [operand]))
    if operator == "contains":
        in_text = isinstance(value, str) and isinstance(operand, str) and value.find(operand) >= 0
        return in_text or (isinstance(value, list) and any(_same(each, operand) for each in value))
    if not (_is_number(value) and _is_number(operand)) and not (isinstance(value, str) and isinstance(operand, str)):
        return False
    below, above = bool(value < operand), bool(value > operand)
    return {"lt": below, "gt": above, "lte": not above, "gte": not below}[operator]


def _value(fields: Any, key: str) -> Any:
    """Looks up the whole key, else its first part and then the rest in that object."""
    if key in fields:
        return fields[key]
    first, dot, rest = key.partition(".")
    return _value(fields[first], rest) if dot and isinstance(fields.get(first), dict) else NOTHING


def _same(one: Any, other: Any) -> bool:
    if _is_number(one) and _is_number(other):
        return bool(one == other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
