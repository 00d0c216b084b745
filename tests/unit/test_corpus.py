"""A file of every type that the service reads becomes exactly its text."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest

from engines.extraction.pandoc import pandoc
from errors import Unreadable
from tests.support import files
from tests.support.corpus import SAMPLES, Sample
from text.extract import extract
from text.extract.base import Bounds
from text.extract.kinds import KINDS, kind_of

PAGE = Path(__file__).parents[2] / "docs" / "files.md"
SUFFIXES = {suffix for kind in KINDS for suffix in kind.suffixes}
SPOKEN = {
    "JSON Lines": ".jsonl",
    "Notebooks (`.ipynb`)": ".ipynb",
    "Markdown": ".md",
    "reStructuredText": ".rst",
    "text": ".txt",
    "feeds": ".xml",
}
BOUNDS = Bounds(pages=100, chars=1_000_000, unpacked_bytes=64 << 20)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_file_becomes_its_text(sample: Sample) -> None:
    if sample.by_pandoc and shutil.which("pandoc") is None:
        with pytest.raises(Unreadable, match="read where pandoc is installed"):
            extract(sample.content(), sample.name, bounds=BOUNDS)
        return
    extracted = extract(sample.content(), sample.name, bounds=BOUNDS, convert=pandoc())
    assert extracted.text == sample.text


def test_there_is_a_file_of_every_suffix_and_of_every_type_on_the_page_of_files() -> None:
    table = re.findall(r"^\| ([^|]+) \|", PAGE.read_text().partition("| Type |")[2].partition("\n\n")[0], re.MULTILINE)
    named = {name for line in table for name in line.split(", ")}
    on_page = {SPOKEN.get(name, f".{name.lower()}") for name in named}
    built = {sample.suffix for sample in SAMPLES}
    assert len(named) > 30
    assert (SUFFIXES - built, on_page - built) == (set(), set())
    assert on_page <= SUFFIXES


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_file_is_built_alike_at_any_time_and_its_content_says_what_it_is(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sample.content()
    monkeypatch.setattr(time, "time", lambda: 2e9)
    for cached in (files.pdf, files.word):
        cached.cache_clear()
    assert sample.content() == first
    if (kind := kind_of(sample.content(), sample.name)).is_binary:
        assert kind_of(sample.content(), f"named{sample.suffix}").name == kind.name
