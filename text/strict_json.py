"""JSON as it arrives, read strictly: it says one thing, or it is refused. Pure.

No key twice, no NaN, no half of a character, no nesting without end, and no encoding but UTF-8 (RFC 8259).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

LONGEST_QUOTED = 60


class NotJson(ValueError):
    """Its message says what is wrong, and fits behind "This is not valid JSON"."""


def loads(content: bytes | str) -> Any:
    """What *content* says. Raises NotJson. Takes time and memory in proportion to its length, whatever is in it."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
        if "\\ud" in text or "\\uD" in text:  # an escaped surrogate: only a pair of them is a character
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
    except ValueError as error:  # Python's own limit, as reading digits takes quadratic time
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
