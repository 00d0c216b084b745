"""Files that are cut, flipped, nested or blown up: each is read or refused in words, in time, and costs no worker."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from engines.extraction.extractor import Extractor
from errors import Unreadable
from tests.service.test_extracting import LIMITS, read
from tests.support import files, office
from tests.support.office import paragraph, row, sheet, slides, table, word

SOURCES: dict[str, Callable[[], bytes]] = {
    "a.pdf": files.pdf,
    "a.docx": files.word,
    "b.docx": lambda: word(paragraph("Text") + table(row("a", "b"), row("1", "2"))),
    "a.pptx": files.powerpoint,
    "a.xlsx": lambda: sheet([["a", "b"], ["1|<x:v>5</x:v>", "<x:f>A1</x:f>"]], formats=("00000",)),
    "a.xls": lambda: office.old_sheet([(0, 0, "a"), (0, 1, 2.0)]),
    "a.ods": lambda: office.open_sheet([["a", "b"]]),
    "a.epub": files.epub,
    "a.eml": files.mail,
    "a.html": files.html,
    "a.json": lambda: files.JSON,
    "a.ipynb": lambda: b'{"cells": [{"cell_type": "code", "source": ["x"], "outputs": []}], "nbformat": 4}',
    "a.xml": lambda: b"<?xml version='1.0'?><a><b>Text</b><c d='e'>more</c></a>",
    "a.csv": lambda: files.CSV,
}
SECONDS = 20


def _cut(content: bytes, by: random.Random) -> bytes:
    return content[: by.randrange(len(content))]


def _flipped(content: bytes, by: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(by.randrange(1, 12)):
        changed[by.randrange(len(changed))] = by.randrange(256)
    return bytes(changed)


def _repeated(content: bytes, by: random.Random) -> bytes:
    begin, end = sorted(by.randrange(len(content)) for _ in range(2))
    return content[:end] + content[begin:end] * by.randrange(1, 20) + content[end:]


def _flipped_inside(content: bytes, by: random.Random) -> bytes:
    """A part of the archive, which is whole around it."""
    parts = files.parts_of(content)
    name = by.choice([name for name, part in parts.items() if part])
    return files.archive({**parts, name: by.choice((_cut, _flipped, _repeated))(parts[name], by)})


@pytest.mark.parametrize("name", SOURCES)
def test_a_broken_file_is_read_or_refused_and_nothing_else(name: str) -> None:
    by, content = random.Random(name), SOURCES[name]()
    ways = [_cut, _flipped, _repeated, *([_flipped_inside] * 3 if content.startswith(b"PK") else [])]
    for number in range(60):
        begun = time.process_time()
        with suppress(Unreadable, MemoryError):
            read(ways[number % len(ways)](content, by), name)
        assert time.process_time() - begun < SECONDS


DEEP = 3000
NESTED: dict[str, Callable[[], bytes]] = {
    "a.html": lambda: b"<table><tr><td>" * DEEP + b"deep",
    "b.html": lambda: b"<ol><li>" * 200 + b"<math>" + b"<mrow>" * 200 + b"<mi>x</mi>",
    "c.html": lambda: b"<sup>" * 200 + b"x",
    "a.xml": lambda: b"<a>" * DEEP + b"deep",
    "a.json": lambda: b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "a.eml": lambda: b"".join(
        b"Subject: x\r\nFrom: a\r\nContent-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n)
        for n in range(300)
    ),
    "b.eml": lambda: b"From: a\r\nContent-Type: message/rfc822\r\n\r\n" * 300 + b"deep",
    "a.docx": lambda: word("<w:sdt><w:sdtContent>" * 100 + paragraph("deep") + "</w:sdtContent></w:sdt>" * 100),
    "b.docx": lambda: word("<w:tbl><w:tr><w:tc>" * 80 + paragraph("deep") + "</w:tc></w:tr></w:tbl>" * 80),
    "c.docx": lambda: word("<w:p><m:oMath>" + "<m:e>" * 240 + "</m:e>" * 240 + "</m:oMath></w:p>"),
    "a.pptx": lambda: slides("<p:grpSp>" * 240 + office.box("deep") + "</p:grpSp>" * 240),
}
BLOWN_UP: dict[str, Callable[[], bytes]] = {
    "a.html": lambda: b"<table>" + b"<tr><td rowspan=65534 colspan=1000>x" * 2000,
    "b.html": lambda: b"<table><tr><td rowspan=9999>" + b"x" * 100_000 + b"<tr><td>y" * 5000,
    "c.html": lambda: b"<ol start=999999>" + b"<li type=i>x" * 5000,
    "a.docx": lambda: word(table(*[row('<w:gridSpan w:val="999999"/>|x') for _ in range(500)])),
    "b.docx": lambda: files.word_bomb(60),
    "a.xlsx": lambda: sheet([["a", "b"]], merged='<x:mergeCells><x:mergeCell ref="A1:XFD1048576"/></x:mergeCells>'),
    "b.xlsx": lambda: sheet([["a"], *[[]] * 5000, ["<x:f>A1</x:f>"]]),
    "a.json": lambda: b"[" + b"9" * 5000 + b", 1e999999999, -0.0]",
    "a.txt": lambda: b"\xff" * 1_000_000,
    "a.xml": lambda: (
        b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "' + b"&a;" * 10_000 + b'">]><x>' + b"&b;" * 10_000 + b"</x>"
    ),
}


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for each in (NESTED, BLOWN_UP) for name, content in each.items()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_nested_or_blown_up_costs_its_own_process_alone(
    tmp_path: Path, name: str, content: Callable[[], bytes]
) -> None:
    path = tmp_path / name
    path.write_bytes(content())
    begun = time.monotonic()
    try:
        assert len(Extractor(LIMITS).extract(path, name).text) <= LIMITS.chars
    except Unreadable as error:
        assert len(str(error)) > 10
    assert time.monotonic() - begun < 2 * LIMITS.cpu_seconds
