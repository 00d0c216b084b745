"""What a file, a header and a JSON document are is decided by their bytes, and what is ambiguous is refused."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import Unreadable
from text.extract import kinds
from text.extract.headers import extended_filename, header_text
from text.extract.kinds import HEAD_BYTES, KINDS, FileKind, charset_of, kind_of
from text.strict_json import NotJson, loads

ZIP, OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
HEADS = {
    "PDF": b"%PDF-1.7",
    "RTF": b"{\\rtf1",
    "HTML": b"<html>",
    "XML": b"<?xml version='1.0'?><a/>",
    "EML": b"From: ann@example.org\r\n\r\n",
}
CONTAINERS = {kinds.ZIP: ZIP, kinds.OLE: OLE, "": b"tide"}
LETTERS = st.characters(exclude_categories=["Cc", "Cf", "Cs"])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_is_known_by_each_of_its_names_and_by_its_type(kind: FileKind) -> None:
    head = HEADS.get(kind.name, CONTAINERS[kind.container])
    for suffix in kind.suffixes:
        assert kind_of(head, f"Tides.2026{suffix.upper()}") is kind
    assert kind_of(head, "tides", f"{kind.mime_type.upper()} ; charset=utf-8") is kind


def test_no_suffix_is_that_of_two_kinds() -> None:
    suffixes = [suffix for kind in KINDS for suffix in kind.suffixes]
    assert len(suffixes) == len(set(suffixes))


@pytest.mark.parametrize(
    ("head", "filename", "declared", "kind"),
    [
        (b"x" * 1019 + b"%PDF-", "a", "", kinds.PDF),
        (b"x" * 1020 + b"%PDF-", "a", "", kinds.TEXT),
        (ZIP, "tides.txt", "", kinds.ARCHIVE),
        (OLE, "tides", "", kinds.COMPOUND),
        (b"tide", "tides.csv", "text/markdown", kinds.CSV),
        (b"tide", "tides", "image/png", kinds.TEXT),
        (b"tide", "tides", "application/x-ndjson", kinds.JSON),
        (b"tide", "tides.rtf", "", kinds.TEXT),
        (b"tide", "tides.xml", "", kinds.TEXT),
        (b"\n <tide/>", "tides.xml", "", kinds.XML),
        (b"<tide/>", "tides", "", kinds.TEXT),
        (b"Ship,Fee", "tides.xls", "", kinds.CSV),
        (b"Subject: tide", "tides.eml", "", kinds.EML),
        (b"Subject: tide", "tides.txt", "", kinds.TEXT),
        (b"The tide.\n\nFrom: Ann", "tides.eml", "", kinds.TEXT),
        (b"<!-- From: x -->\n<!DOCTYPE  html>", "tides.csv", "", kinds.HTML),
        ("\ufeff<html>".encode("utf-16"), "tides.txt", "", kinds.HTML),
        ("ü".encode() * (HEAD_BYTES // 2 - 1) + b"x\xc3", "tides.md", "", kinds.MARKDOWN),
        (b"", "tides", "", kinds.TEXT),
    ],
)
def test_content_comes_before_the_name_and_the_name_before_the_type(
    head: bytes, filename: str, declared: str, kind: FileKind
) -> None:
    assert kind_of(head, filename, declared) is kind


@pytest.mark.parametrize(
    ("head", "filename", "why"),
    [
        (OLE, "TIDES.DOC", "Word document"),
        (OLE, "tides.msg", "msgconvert"),
        (b"tide", "tides.docx", "It is called a DOCX but is not one"),
        (b"\x00\x01\x02", "tides.txt", "What can be read: PDF"),
    ],
)
def test_what_has_no_reader_is_refused(head: bytes, filename: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        kind_of(head, filename)


@given(st.text(LETTERS), st.sampled_from([kinds.MARKDOWN, kinds.CSV, kinds.TSV, kinds.JSON, kinds.RST]))
def test_plain_text_is_what_its_name_says(text: str, kind: FileKind) -> None:
    safe = "".join(letter for letter in text if letter not in "<%{")
    assert kind_of(safe.encode(), f"{text}{kind.suffixes[0]}") is kind


@given(st.text(), st.text())
def test_a_pdf_is_one_whatever_it_is_called(filename: str, declared: str) -> None:
    assert kind_of(b"\n%PDF-2.0", filename, declared) is kinds.PDF


@pytest.mark.parametrize(
    ("declared", "charset"),
    [
        ("text/html; charset=utf-8", "utf-8"),
        ('text/html; Charset = "ISO-8859-1"; x=y', "ISO-8859-1"),
        ("text/html;charset='koi8-r'", "koi8-r"),
        ("text/html; charset=", None),
    ],
)
def test_the_charset_is_read_from_a_type(declared: str, charset: str | None) -> None:
    assert charset_of(declared) == charset


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (None, ""),
        ("1 =? 2", "1 =? 2"),
        ("=?utf-8?b?a?= tide", "=?utf-8?b?a?= tide"),
        ("=?utf-8?q?Gr=C3=B6=C3=9Fe?=", "Größe"),
        ("=?utf-8?q?a_b?= c =?iso-8859-1?b?/A==?=", "a b c ü"),
        ("Gr\udcc3\udcb6\udcc3\udc9fe", "Größe"),
        ("Gr\udcf6\udcdfe", "Größe"),
    ],
)
def test_a_header_is_decoded(raw: str | None, text: str) -> None:
    assert header_text(raw) == text


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("attachment; filename=a.txt", None),
        ("attachment; filename=a.txt; filename*=UTF-8'de'Gr%C3%B6%C3%9Fe.txt", "Größe.txt"),
        ("attachment; FILENAME* = iso-8859-1''%FC.txt; filename=u.txt", "ü.txt"),
        ('attachment; filename*1="of piers.txt"; filename*0="list "', "list of piers.txt"),
        ("attachment; filename*0*=iso-8859-1''%FC; filename*1=%20; filename*2*=%20b", "ü%20 b"),
        ("attachment; " + "; ".join(f"filename*{number}={number}" for number in range(11)), "012345678910"),
    ],
)
def test_an_extended_name_comes_before_the_plain_one(disposition: str, name: str | None) -> None:
    assert extended_filename(disposition) == name


@given(st.text(LETTERS, min_size=1, max_size=30), st.randoms())
def test_a_name_in_pieces_is_the_name(name: str, order: Any) -> None:
    whole = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    pieces = [f"; filename*{number}*={quote(letter, safe='')}" for number, letter in enumerate(name)]
    pieces[0] = pieces[0].replace("=", "=UTF-8''", 1)
    order.shuffle(pieces)
    assert extended_filename(whole) == extended_filename(f"attachment{''.join(pieces)}") == name


STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_json_without_a_repeated_key_is_read_as_ever(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert (
            loads(text) == loads(text.encode()) == loads(b"\xef\xbb\xbf" + text.encode()) == json.loads(text) == value
        )


@given(st.dictionaries(STRINGS, VALUES, min_size=1, max_size=4), st.data())
def test_a_repeated_key_is_refused_wherever_it_stands(value: dict[str, Any], data: st.DataObject) -> None:
    again = json.dumps(data.draw(st.sampled_from(sorted(value))))
    outer = data.draw(st.sampled_from(["{}", "[1, {}]", '{{"a": [{}]}}']))
    text = outer.format(f"{json.dumps(value)[:-1]}, {again}: 0}}")
    assert json.loads(text) is not None
    with pytest.raises(NotJson, match="stands twice in one object"):
        loads(text)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[NaN]", "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": [1.5, 1e999]}', "the number 1e999 is out of range"),
        ("-1.0E+0400", "the number -1.0E"),
        ("2" * 309 + ".0", "out of range"),
        ("2" * 250 + "e99", "out of range"),
        ("0.1E+0000400", "out of range"),
        (r'"\ud83d"', "a lone surrogate"),
        (r'{"\uDE00": 1}', "a lone surrogate"),
        ("[" * 200_000, "nested too deeply"),
        ("1" * 5000, "an integer of thousands of digits"),
        ("[1,, 2]", "at character 3"),
        ("", "at character 0"),
        ('"tide"'.encode("utf-16"), "not UTF-8"),
        (b'{"\\u0061": 1, "a": 2}', "the key 'a' stands twice"),
    ],
)
def test_ambiguous_json_is_refused(content: bytes | str, why: str) -> None:
    with pytest.raises(NotJson, match=why):
        loads(content)


def test_what_only_looks_like_a_number_out_of_range_is_kept() -> None:
    """Such literals switch to the slower parser, which has to agree with the other."""
    content = '{"e999": [1e308, -1.7976931348623157E+308, 1e-999, 0e999, 2.50], "digits": "%s"}' % ("1" * 400)
    assert loads(content) == json.loads(content)


def test_a_pair_of_surrogates_is_one_character_and_a_backslash_is_none() -> None:
    assert loads(r'["\ud83d\ude00", "\\ud83d"]') == ["\U0001f600", r"\ud83d"]


@given(st.text() | st.binary())
def test_whatever_is_no_json_is_refused_in_words(content: str | bytes) -> None:
    try:
        loads(content)
    except NotJson as error:
        assert str(error)
