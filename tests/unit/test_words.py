# ruff: noqa: RUF001
"""Which words a text has: the same at index and query time, in any script, whatever somebody writes."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text.joining import Piece, joined
from text.words import LONGEST_WORD, MAX_QUERY_WORDS, query_words, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Renewals", "renewal"),
        ("CAFÉ", "cafe"),
        ("Straße", "STRASSE"),
        ("\ufb01ne \uff21\uff22", "fine ab"),
        ("naïve", "nai\u0308ve"),
        ("top_k", "top-k"),
        ("example.com", "example com"),
        ("COVID-19:", "covid 19"),
        ("Sørensen Łódź Đà Nẵng", "sorensen lodz da nang"),
        ("Encyclopædia cœur Þór ılık ħarifa", "encyclopaedia coeur thor ilik harifa"),
        ("٤٧٨٢ ۴۷۸۲ ४७८२ ４７８２", "4782 4782 4782 4782"),
        ("10⁶ × 3½", "10 6 × 3 1⁄2"),
        ("مدرسة", "مدرسه"),
        ("Windows\u2122", "windows"),
        ("5 \u3392", "5 MHz"),
        ("Donau\u00addampf\u00adschiff", "Donaudampfschiff"),
        ("מִטְבָּח", "מטבח"),
        ("צה״ל", 'צה"ל'),
        ("كِتَابٌ", "كتاب"),
        ("أحمد", "احمد"),
        ("مكتبـــة", "مكتبة"),
    ],
)
def test_case_accents_endings_and_signs_make_no_difference(one: str, other: str) -> None:
    assert words(one) == words(other)


@pytest.mark.parametrize(
    ("passage", "query"),
    [
        ("北京大学的学生在图书馆学习", "图书馆"),
        ("我住在北京大学旁边", "北京"),
        ("東京都に住んでいる学生は図書館で勉強します", "図書館"),
        ("機械学習の研究", "学習"),
        ("ห้องสมุดมหาวิทยาลัยเปิดทุกวัน", "มหาวิทยาลัย"),
        ("การทำน้ำดื่ม", "น้ำ"),
        ("សាកលវិទ្យាល័យភូមិន្ទភ្នំពេញ", "ភ្នំពេញ"),
        ("ພາສາລາວບໍ່ມີຊ່ອງຫວ່າງ", "ລາວ"),
        ("မြန်မာနိုင်ငံ၏မြို့တော်", "မြို့တော်"),
        ("서울에서 도서관을 찾았다", "도서관"),
        ("हिन्दी भाषा की किताब", "किताब"),
        ("示例example.com文本", "example"),
    ],
)
def test_scripts_without_spaces_are_cut_into_words_that_are_found(passage: str, query: str) -> None:
    assert set(words(query)) & set(words(passage))
    assert len(words(passage)) > 1


def is_match(passage: str, query: str) -> bool:
    """By every word of the question that is not another spelling of one."""
    return bool(query_words(query).keys() & set(words(passage)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5S", "5"),
        ("X1S", "X1"),
        ("GPS", "GP"),
        ("CMS", "CM"),
        ("B2Bs", "B2B"),
        ("gps", "GP"),
        ("C++", "C"),
        ("C++", "C#"),
        ("F#", "F"),
        ("C#", "C"),
        (".NET", "net"),
        ("10⁶", "106"),
        ("US", "use"),
    ],
)
def test_a_code_or_an_abbreviation_is_no_other_one(one: str, other: str) -> None:
    assert not is_match(f"It is about {one} here.", other)
    assert not is_match(f"It is about {other} here.", one)
    assert is_match(f"It is about {one} here.", one)


@pytest.mark.parametrize(
    ("passage", "query"),
    [
        ("Made for GPS.", "gps"),
        ("Our PCs run.", "PC"),
        ("Our PC runs.", "PCs"),
        ("Wrote it in C++17.", "c++"),
        ("Wrote it in (C++).", "C++"),
        ("Notepad++ is open.", "notepad"),
        ("It needs .NET 8.", ".net"),
        ("He used it", "use"),
        ("SAFETY RULES", "rule"),
        ("AIDS is treated", "aids"),
        ("Herr Müller", "Mueller"),
        ("Herr Mueller", "Müller"),
        ("Herr Muller", "Müller"),
        ("Die Übergabe", "Uebergabe"),
        ("Århus havn", "Aarhus"),
        ("Søren Kierkegaard", "Soeren"),
        ("HAFENSTRASSE", "Hafenstraße"),
        ("والمكتبات", "المكتبة"),
        ("للمدرسة", "مدرسة"),
        ("بالمعلمون", "معلم"),
    ],
)
def test_what_is_spelled_otherwise_is_found(passage: str, query: str) -> None:
    assert is_match(passage, query)


def test_the_abbreviation_that_was_meant_comes_first_and_a_name_in_capitals_is_no_stop_word() -> None:
    assert query_words("AIDS").keys() & set(words("aid")) < query_words("AIDS").keys() & set(words("AIDS"))
    assert "it" in query_words("Who leads IT?")
    assert "it" not in query_words("Who leads it?")


@pytest.mark.parametrize(
    ("apart", "together"),
    [
        ("XR 22", "XR22"),
        ("AB-1234-X", "ab1234x"),
        ("1234-AB-56", "1234AB56"),
        ("DE89 3704 0044 0532 0130 00", "DE89370400440532013000"),
        ("AT61 1904 3002 3457 3201 1200 euros", "AT611904300234573201"),
        ("GB29 NWBK 6016 1331 9268 19", "GB29NWBK60161331926819"),
        ("+49 30 90 18 20", "4930901820"),
        ("978-3-16-148410-0", "9783161484100"),
        ("ISBN 978-3-16-148410-0", "9783161484100"),
        ("4111\u00a01111\u00a01111\u00a01111", "4111111111111111"),
        ("QQ 12 34 56 C", "QQ123456C"),
        ("e-mail", "email"),
    ],
)
def test_codes_are_found_with_and_without_spaces_and_hyphens(apart: str, together: str) -> None:
    assert set(words(f"See {apart} here.")) >= set(words(together))
    assert is_match(f"See {together}.", apart)


def test_what_stands_apart_elsewhere_is_no_code() -> None:
    assert not is_match("The XR has 22 seats.", "XR22")
    assert not is_match("XR, 22 of them", "XR22")
    assert not is_match("Type XR22", "22")
    assert "1215" not in words("From 12 15 came.")


def test_a_mark_that_is_a_vowel_is_part_of_its_word() -> None:
    assert words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]


def test_stop_words_of_the_questions_own_language_are_left_out_and_repeats_are_kept() -> None:
    assert query_words("What is the capital of France, and is France large?") == {"franc": 2, "capit": 1, "larg": 1}
    assert set(query_words("Wie viele Museen hat die Stadt?")) == {"museen", "stadt"}
    assert set(query_words("to be or not to be")) == {"to", "be", "or", "not"}


@pytest.mark.parametrize(
    ("question", "left"),
    [
        ("متى ولد الرئيس الذي حكم مصر؟", {"ولد", "رييس", "حكم", "مصر"}),
        ("في أي عام تم بناء الجسر الـقـديم؟", {"عام", "بناء", "جسر", "قديم"}),
        ("كم كان عدد السكان في ٢٠١٥", {"عدد", "سك", "2015"}),
        ("على ماذا", {"عل", "ماذا"}),  # of nothing but stop words all are kept
    ],
)
def test_stop_words_of_arabic_are_left_out(question: str, left: set[str]) -> None:
    assert set(query_words(question)) == left


def test_a_very_long_question_is_asked_by_its_first_and_most_repeated_words() -> None:
    counts = query_words(" ".join(f"word{n}" for n in range(10_000)) + " again again")
    assert len(counts) == MAX_QUERY_WORDS
    assert counts["again"] == 2


@given(st.text(max_size=200))
def test_whatever_somebody_writes_words_are_letters_and_digits(text: str) -> None:
    for word in words(text):
        assert 0 < len(word) <= LONGEST_WORD
        assert not re.search(r"""[\s"'()*:^_+\-\x00-\x1f]""", word)
    assert words(text) == words(text)


@given(st.text("ab \n", min_size=1, max_size=60), st.data())
def test_neighbours_are_joined_to_what_the_document_has(document: str, data: st.DataObject) -> None:
    """Chunks that overlap, or that stand close together, as a chunker cuts them."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(document)), min_size=2)) | {0, len(document)})
    overlap = data.draw(st.integers(0, 5))
    pieces = []
    for start, end in itertools.pairwise(cuts):
        early = max(0, start - overlap)
        pieces.append(Piece(early, end, document[early:end]))
    assert joined(pieces) == document


def test_what_a_chunk_repeats_of_a_tables_header_and_what_lies_between_chunks_is_not_doubled() -> None:
    pieces = [Piece(0, 9, "name,age\n"), Piece(9, 14, "name,age\nAnn,3"), Piece(20, 23, "end")]
    assert joined(pieces) == "name,age\nAnn,3\n\nend"
    assert joined([]) == ""


def test_rows_and_sentences_of_two_chunks_do_not_become_paragraphs() -> None:
    pieces = [Piece(0, 14, "name,age\nAnn,3"), Piece(15, 20, "name,age\nBob,4"), Piece(22, 25, "end")]
    assert joined(pieces) == "name,age\nAnn,3\nBob,4\n\nend"
