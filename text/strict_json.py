"""Parses JSON strictly: ambiguous input is refused. Pure.

No duplicate keys, no NaN, no number beyond the range of floats, no lone surrogates, no unlimited nesting, and no
encoding but UTF-8 (RFC 8259).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

LONGEST_QUOTED = 60
MAX_FAST_BYTES = 4 << 20
"""Without memory the faster parser ends the process, where Python's raises MemoryError: long bodies are Python's."""
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789E", b"000000000e")
_LONG_EXPONENT, _MANY_DIGITS = re.compile(b"e000"), b"0" * 200  # a plain search looks for the last 0 first
_END_OF_KEY = re.compile(rb'"[ \t\n\r]*:')


class NotJson(ValueError):
    """Its message is worded to follow "This is not valid JSON"."""


def loads(content: bytes | str) -> Any:
    """Parses *content* in time and memory proportional to its length. Raises NotJson."""
    if isinstance(content, bytes) and len(content) <= MAX_FAST_BYTES and not _may_be_out_of_range(content):
        try:
            value = from_json(content, allow_inf_nan=False)
        except ValueError:
            return _loads_exactly(content)
        if len(_END_OF_KEY.findall(content)) == _count_keys(value):
            return value
    return _loads_exactly(content)


def _count_keys(value: Any) -> int:
    """The keys in all objects, apart from those in a list that begins with something else.

    A key that stands twice counts once, and its text ends twice. What looks like the end of a key may also stand in a
    string. So only if as many ends are found as keys, every key stands once.
    """
    count, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            count += len(each)
            waiting += each.values()
        elif isinstance(each, list) and each and isinstance(each[0], dict | list):
            waiting += each
    return count


def _loads_exactly(content: bytes | str) -> Any:
    """With a message for whatever is wrong; several times slower, since each object is looked at in Python."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        parse_float = _finite if _may_be_out_of_range(content) else None
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=parse_float)
        if "\\ud" in text or "\\uD" in text:  # escaped surrogates are valid only in pairs
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise NotJson("nested too deeply") from error
    except UnicodeDecodeError as error:
        raise NotJson("not UTF-8") from error
    except UnicodeEncodeError as error:
        raise NotJson("a lone surrogate, which is no character") from error
    except NotJson:
        raise
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg} at character {error.pos}") from error
    except ValueError as error:  # Python's own limit: parsing digits takes quadratic time
        raise NotJson("an integer of thousands of digits") from error
    return value


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise NotJson(f"the key {_first_repeated(pairs)[:LONGEST_QUOTED]!r} stands twice in one object")
    return value


def _first_repeated(pairs: Sequence[tuple[str, Any]]) -> str:
    names: set[str] = set()
    return next(name for name, _ in pairs if name in names or names.add(name))  # type: ignore[func-returns-value]


def _refuse_constant(name: str) -> Any:
    raise NotJson(f"{name} is not a JSON number")


def _may_be_out_of_range(content: bytes | str) -> bool:
    """Returns whether a number may be infinite. False for nearly every body, which is then parsed at full speed."""
    encoded = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    shape = encoded.translate(_DIGITS_AS_ZEROS, b"+")
    return _LONG_EXPONENT.search(shape) is not None or _MANY_DIGITS in shape


def _finite(literal: str) -> float:
    value = float(literal)
    if math.isinf(value):
        raise NotJson(f"the number {literal[:LONGEST_QUOTED]} is out of range: numbers end at about 1.8e308")
    return value
