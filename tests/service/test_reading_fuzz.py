"""Files that are cut, flipped, nested or blown up: each is read or refused in words, in time, and costs no worker."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from engines.extraction.extractor import Extractor
from errors import Unreadable
from tests.service.test_extracting import LIMITS
from tests.support import files, office
from tests.support.corpus import SAMPLES, Sample
from tests.support.limited_reading import read_all
from tests.support.office import paragraph, row, sheet, slides, table, word
from text.extract.kinds import kind_of

SOURCES = [sample for sample in SAMPLES if not sample.by_pandoc]
FIRSTS = {kind_of(sample.content(), sample.name): sample for sample in reversed(SOURCES)}
"""A sample of each kind. The others of a kind take the same reader, so a few tries do."""
THOROUGH = 20 if settings.get_current_profile_name() == "thorough" else 1


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


def _broken(sample: Sample, count: int) -> Iterator[bytes]:
    """The same ones in each run."""
    by, content = random.Random(sample.name), sample.content()
    ways = [_cut, _flipped, _repeated, *([_flipped_inside] * 3 if content.startswith(b"PK") else [])]
    for number in range(count):
        yield ways[number % len(ways)](content, by)


@pytest.mark.parametrize("sample", SOURCES, ids=lambda sample: sample.name)
def test_a_broken_file_is_read_or_refused_and_nothing_else(sample: Sample) -> None:
    read_all(sample.name, [*_broken(sample, THOROUGH * (60 if sample in FIRSTS.values() else 6))])


@pytest.mark.parametrize("sample", FIRSTS.values(), ids=lambda sample: sample.name)
def test_a_broken_file_does_not_end_the_process_that_reads_it(tmp_path: Path, sample: Sample) -> None:
    path = tmp_path / sample.name
    [*_, content] = _broken(sample, 7)
    path.write_bytes(content)
    try:
        assert Extractor(LIMITS).extract(path, sample.name).text.strip()
    except Unreadable as error:
        assert "parser died" not in str(error)


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
    begun = _seconds_of_children()
    try:
        assert len(Extractor(LIMITS).extract(path, name).text) <= LIMITS.chars
    except Unreadable as error:
        assert len(str(error)) > 10
    assert _seconds_of_children() - begun < 2 * LIMITS.cpu_seconds


def _seconds_of_children() -> float:
    """The processor time of those that have ended: how long they took says more of the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
