"""Strict JSON: what the fast parser accepts is what the exact one would, value by value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text import strict_json
from text.strict_json import NotJson, loads

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)
FRAGMENTS = st.sampled_from(
    [
        *('"', '"a"', '"a":', '\\"', '\\":', "\\u", "d800", "\\ud83d\\ude00", "{", "}", "[", "]", ":", ",", " ", "\n"),
        *("1", "-", "0", ".5", "1e400", "e", "NaN", "Infinity", "true", "null", "\x00", "\x7f", "é", "\ufeff"),
    ]
)


def verdict(parse: Any, content: bytes) -> str:
    try:
        return repr(parse(content))
    except NotJson as error:
        return f"refused: {error}"


@given(VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    for ascii_only in (True, False):
        try:
            content = json.dumps(value, ensure_ascii=ascii_only).encode()
        except UnicodeEncodeError:
            continue
        assert verdict(loads, content) == verdict(strict_json._loads_exactly, content)
    assert repr(loads(json.dumps({"value": value}).encode())) == repr({"value": value})


@given(st.lists(FRAGMENTS, max_size=14))
def test_the_fast_parser_accepts_nothing_that_the_exact_one_refuses(fragments: list[str]) -> None:
    content = "".join(fragments).encode()
    assert verdict(loads, content) == verdict(strict_json._loads_exactly, content)


@pytest.mark.parametrize(
    "content",
    [
        '{"a": 1, "a": 1}',
        '{"a": {"b": 1, "b": 2}}',
        '[1, {"a": 1, "a": 2}]',
        '[[1], {"a": 1 , "a" : 2}]',
        '{"a\\":": 1, "b": 2, "b": 3}',
        '{"a\\\\": 1, "a\\\\": 1}',
        '{"\\u0061": 1, "a": 1}',
    ],
)
def test_a_key_that_stands_twice_is_found_however_it_is_hidden(content: str) -> None:
    with pytest.raises(NotJson, match="stands twice"):
        loads(content.encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[NaN]", "NaN is not a JSON number"),
        (b"-Infinity", "-Infinity is not a JSON number"),
        (b'"\\ud800"', "lone surrogate"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5000, "thousands of digits"),
        (b'{"a": 1,}', "at character 8"),
    ],
)
def test_each_refusal_says_why(content: bytes, message: str) -> None:
    with pytest.raises(NotJson, match=message):
        loads(content)


def test_what_only_the_exact_parser_reads_is_read() -> None:
    assert loads(b"\xef\xbb\xbf1") == 1
    assert loads(b"[" * 300 + b"]" * 300) == json.loads("[" * 300 + "]" * 300)
    assert loads(b'{"a": "\\"b\\": 1"}') == {"a": '"b": 1'}
