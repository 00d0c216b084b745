"""Filters as trees of tests, and their evaluation against the fields of a chunk. Pure.

JSON's types are distinct: 1 equals neither "1" nor true, but 1 and 1.0 are the same number. Integers of any size are
compared exactly. A test of a missing key fails, and its negation holds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any, Final

PAGE = "page"
TIMES = frozenset({"created_at", "updated_at"})
BUILT_IN = frozenset({"doc_id", "source_type", "mime_type", PAGE}) | TIMES
METADATA = "metadata"
_PREFIX = f"{METADATA}."
ORDERED = frozenset({"number", "string", "time"})
_HASHES_REPEAT_FROM = 2**61 - 1
"""Python hashes integers modulo this one, so a client could make all look-ups linear by sending multiples of it."""

Fields = Mapping[str, Any]
"""The fields of a chunk that a filter can test: built-in ones under their names, the metadata under METADATA.

``page`` is the ``range`` of the chunk's pages: a test holds if it holds for one of them.
"""


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class Exists:
    """The key exists, with any value, null included."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value has one of these identity()s."""

    identities: frozenset[Hashable]


@dataclass(frozen=True, slots=True)
class Compares:
    """The value is of *limit*'s kind (a number, a string or a time) and compares to it as *operator* says."""

    operator: str
    limit: float | str | datetime


@dataclass(frozen=True, slots=True)
class Contains:
    """The value is a list with an element of the identity() *element*, or a string that contains *text*."""

    element: Hashable
    text: str | None


@dataclass(frozen=True, slots=True)
class EndsWith:
    """The value is a string that ends with *text*."""

    text: str


Test = Exists | OneOf | Compares | Contains | EndsWith


@dataclass(frozen=True, slots=True)
class Condition:
    key: str
    test: Test


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


Filter = Condition | All | AnyOf | Not
"""Equal trees have the same result, so a filter can be a cache key."""


def matches(tree: Filter, fields: Fields) -> bool:
    match tree:
        case Condition(key, test):
            return holds(test, lookup(fields, key))
        case All(parts):
            return all(matches(part, fields) for part in parts)
        case AnyOf(parts):
            return any(matches(part, fields) for part in parts)
        case Not(part):
            return not matches(part, fields)


def conditions(tree: Filter) -> Iterator[Condition]:
    match tree:
        case Condition():
            yield tree
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from conditions(part)
        case Not(part):
            yield from conditions(part)


def holds(test: Test, value: Any) -> bool:
    """Evaluates *test* for *value*: a JSON value, a time, a range of pages, or MISSING."""
    if value is MISSING:
        return False
    if isinstance(value, range):
        return any(holds(test, each) for each in value)
    match test:
        case Exists():
            return True
        case OneOf(accepted):
            return identity(value) in accepted
        case Compares(operator, limit):
            return kind(value) == kind(limit) and _ORDERS[operator](value, limit)
        case Contains():
            return _contains(value, test)
        case EndsWith(text):
            return isinstance(value, str) and value.endswith(text)


def _contains(value: Any, test: Contains) -> bool:
    if isinstance(value, list):
        return any(identity(each) == test.element for each in value)
    return test.text is not None and isinstance(value, str) and test.text in value


def lookup(fields: Fields, key: str) -> Any:
    """Returns the value of a key, or MISSING.

    A built-in name means the built-in field. In the metadata, ``author.name`` is the key of that name or, if there
    is none, the key ``name`` in the object ``author``. With the prefix ``metadata.`` only the metadata is searched.
    """
    if key in BUILT_IN:
        value = fields.get(key)
        return MISSING if value is None else value
    return _walk(fields.get(METADATA, {}), path_of(key))


def path_of(key: str) -> str:
    """Returns the path in the metadata of a key that is not built in."""
    return key.removeprefix(_PREFIX)


def kind(value: Any) -> str:
    """Returns the type of a value. Values of different kinds are never equal; only ORDERED kinds have an order."""
    return _KINDS.get(type(value), "null")


def identity(value: Any) -> Hashable:
    """Returns a key that is equal for values that are equal in JSON, and only for them: in Python, 1 == True."""
    if isinstance(value, str):
        return "string", value
    if isinstance(value, dict):
        return "object", frozenset((key, identity(each)) for key, each in value.items())
    if isinstance(value, list):
        return "array", tuple(identity(each) for each in value)
    if isinstance(value, int | float) and _HASHES_REPEAT_FROM <= abs(value) < inf:
        return "number", hex(int(value))
    return kind(value), value


def _walk(value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        return MISSING
    if path in value:
        return value[path]
    head, _, rest = path.partition(".")
    return _walk(value[head], rest) if rest and head in value else MISSING


_KINDS: Mapping[type, str] = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    datetime: "time",
    dict: "object",
    list: "array",
}
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, limit: value > limit,
    "gte": lambda value, limit: value >= limit,
    "lt": lambda value, limit: value < limit,
    "lte": lambda value, limit: value <= limit,
}
