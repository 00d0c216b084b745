"""When two texts are the same, what a text may hold, and what is put in front of a chunk to embed it."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import Invalid
from text.enrich import embedded_text, header
from text.hashing import clean, doc_hash, embed_hash, normalize


def count_words(text: str) -> int:
    return len(text.split())


def test_the_same_words_have_the_same_hash_however_they_were_typed() -> None:
    typed = "Cafe\u0301  au lait \r\nsecond\rthird\n\n"
    assert normalize(typed) == "Caf\u00e9  au lait\nsecond\nthird"
    assert doc_hash(typed) == doc_hash("Caf\u00e9  au lait\nsecond\nthird")
    assert doc_hash(typed) != doc_hash("Caf\u00e9 au lait\nsecond\nthird")


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


@given(st.text())
def test_the_document_hash_is_the_sha256_of_the_normalised_text(text: str) -> None:
    assert doc_hash(text) == hashlib.sha256(normalize(text).encode()).hexdigest()


def test_the_embedding_hash_tells_texts_apart_that_normalise_alike() -> None:
    assert len(embed_hash("a")) == 32
    assert embed_hash("a") == hashlib.sha256(b"a").digest()
    assert embed_hash("a") != embed_hash("a ")


def test_nul_characters_are_replaced_one_for_one_and_nothing_else_is() -> None:
    assert clean("a\x00b\x01 \U0001f600\r\n") == "a\ufffdb\x01 \U0001f600\r\n"


@pytest.mark.parametrize("surrogate", ["\ud800", "\udbff", "\udc00", "\udfff"])
def test_a_lone_surrogate_is_refused_with_its_position(surrogate: str) -> None:
    with pytest.raises(Invalid, match="at character 3") as refused:
        clean(f"ab\x00{surrogate}c")
    assert refused.value.param == "text"


def test_a_header_is_the_title_and_the_path_of_headings_on_one_line() -> None:
    head = header("guide.md", ("Setup", "On\n Linux"), count_tokens=count_words)
    assert head == "guide.md > Setup > On Linux"
    assert embedded_text("Run it.", head) == "guide.md > Setup > On Linux\n\nRun it."


def test_a_text_without_header_is_embedded_unchanged() -> None:
    assert header(None, (), count_tokens=count_words) == ""
    assert header(" ", ("",), count_tokens=count_words) == ""
    assert embedded_text(" as it is\n", "") == " as it is\n"


def test_a_title_that_is_also_the_first_heading_is_said_once() -> None:
    assert header("Guide", ("Guide", "Setup"), count_tokens=count_words) == "Guide > Setup"


def test_a_long_header_loses_the_outer_headings_first_and_keeps_the_innermost() -> None:
    section = ("one two three", "four five", "six seven")
    assert header("Guide", section, count_tokens=count_words, max_tokens=7) == "Guide > four five > six seven"
    assert header("Guide", section, count_tokens=count_words, max_tokens=4) == "Guide > six seven"
    assert header("Guide", section, count_tokens=count_words, max_tokens=2) == "six seven"
    assert header("Guide", section, count_tokens=count_words, max_tokens=1) == "six"


@given(st.none() | st.text(), st.lists(st.text(), max_size=4).map(tuple), st.integers(1, 20))
def test_a_header_never_has_more_tokens_than_allowed(
    title: str | None, section: tuple[str, ...], max_tokens: int
) -> None:
    assert len(header(title, section, count_tokens=len, max_tokens=max_tokens)) <= max_tokens
