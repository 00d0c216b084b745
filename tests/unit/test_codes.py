# ruff: noqa: RUF001
"""Codes, IBANs and names become words, letters are folded, and Arabic words lose their endings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text.arabic import is_arabic, light_stem
from text.codes import LONGEST_CODE, joined_codes, with_names
from text.folding import folded, other_spellings
from text.stopwords import STOP_WORDS, stop_words

CODE_PARTS = ["xr", "a", "q", "22", "7", "1234", "003", "ab12", " ", "-", "_", "/", ") ", "(", ".", ", ", "\u2013", "ü"]
CODE_TEXTS = st.lists(st.sampled_from(CODE_PARTS), max_size=30).map("".join)
IBANS = st.tuples(
    st.text("adgz", min_size=2, max_size=2),
    st.text("0189", min_size=2, max_size=2),
    st.text("abcxyz0189", min_size=11, max_size=30),
).map("".join)
SIGNS = "①½²™№ﬁ㎒がｶﾞ한กำເຳй\u0306Σς٣४ىةک\u0301\u0640\ufffd"
ARABIC = st.text("والبكفهايتنمدرس", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("xr 22", ["xr22"]),
        ("covid-19", ["covid19"]),
        ("ab-1234-x", ["ab1234", "1234x", "ab1234x"]),
        ("+49 30 90 18 20", ["493090", "49309018", "4930901820"]),
        ("(030) 901820", ["030901820"]),
        ("123 456", ["123456"]),
        ("123 45", []),
        ("3.14", []),
        ("xr  22", []),
        ("verylongword 22", []),
        ("x-ray-tube", ["xraytube"]),
        ("top_k", ["topk"]),
        ("well-known", []),
        ("room b 12 and room c 13", ["b12", "c13"]),
    ],
)
def test_what_stands_apart_is_joined_where_it_is_one_code(text: str, codes: list[str]) -> None:
    assert joined_codes(text) == codes


@given(IBANS, st.sampled_from([" ", "-"]))
def test_an_iban_in_groups_of_four_has_the_word_that_it_is_without_spaces(iban: str, between: str) -> None:
    groups = between.join(iban[at : at + 4] for at in range(0, len(iban), 4))
    assert iban in joined_codes(f"pay to {groups}.")


def test_groups_that_are_too_few_for_an_iban_are_not_joined() -> None:
    assert "de89abcdefgh" not in joined_codes("de89 abcd efgh")
    assert "de89abcdefghijk" in joined_codes("de89 abcd efgh ijk")


@given(CODE_TEXTS)
def test_a_code_is_a_run_of_the_texts_own_letters_and_digits_and_not_too_long(text: str) -> None:
    run = "".join(letter for letter in text if letter.isalnum())
    for code in joined_codes(text):
        assert code in run
        assert len(code) <= LONGEST_CODE
        assert len(code) >= 6 or not code.isdecimal()


def test_a_number_of_as_many_digits_as_the_longest_code_is_joined_and_no_longer_one() -> None:
    groups = ["12"] * 20
    assert max(map(len, joined_codes(" ".join(groups)))) == LONGEST_CODE == 34


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("c++", "cplusplus "),
        ("notepad++", "notepad notepadplusplus "),
        ("c#", "csharp "),
        ("f\u266f", "fsharp "),
        (".net", " dotnet "),
        (".net8", " dotnet 8"),
        ("asp.net", "asp.net"),
        (".network", ".network"),
        ("c#x", "c#x"),
        ("abc#", "abc#"),
        ("&c#", "&c#"),
    ],
)
def test_names_with_signs_are_spelled_out_and_other_signs_stay(text: str, named: str) -> None:
    assert with_names(text) == named


@pytest.mark.parametrize(
    ("text", "small"),
    [
        ("x²", "x2"),
        ("10²", "10 2"),
        ("½", "1\u20442"),
        ("№ 5", "no 5"),
        ("Ǽ ǿ ᴭ", "ae o ae"),
        ("\ufb90\u062a\u0627\u0628", "\u0643\u062a\u0627\u0628"),
        ("o\ufb03ce", "office"),
        ("İstanbul", "istanbul"),
        ("ΟΔΌΣ", "οδοσ"),
        ("Ёлка, мой", "елка, мои"),
        ("が", "が"),
        ("\uff76\uff9e", "ガ"),
        ("한국", "한국"),
        ("\u0e19\u0e33", "\u0e19\u0e33"),
        ("٣.١٤", "3.14"),
        ("Windows™ rocks", "windows  rocks"),
        ("a\ufffdb", "ab"),
    ],
)
def test_letters_have_one_case_no_accents_and_one_set_of_digits(text: str, small: str) -> None:
    assert folded(text) == small


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.characters(max_codepoint=0x24F) | st.sampled_from(SIGNS)))
def test_folding_folded_text_changes_nothing(text: str) -> None:
    assert folded(folded(text)) == folded(text)


@given(st.text(st.characters(max_codepoint=0x17F, categories=["Lu", "Ll"])))
def test_folding_takes_no_notice_of_case(text: str) -> None:
    assert folded(text.upper()) == folded(text.lower()) == folded(text.swapcase())


@pytest.mark.parametrize(
    ("text", "spellings"),
    [
        ("Mu\u0308ller", ["mueller"]),
        ("Mueller", ["muller"]),
        ("Goethe in Århus", ["aarhus", "gothe"]),
        ("Quelle, Steuer, Bauer", []),
    ],
)
def test_a_word_with_an_umlaut_has_its_other_spelling(text: str, spellings: list[str]) -> None:
    assert list(other_spellings(text)) == spellings


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        ("والمكتبات", "مكتب"),
        ("معلمين", "معلم"),
        ("كاتبان", "كاتب"),
        ("مكتبتها", "مكتبت"),
        ("ولد", "ولد"),
        ("وكتب", "كتب"),
        ("الله", "له"),
        ("في", "في"),
    ],
)
def test_arabic_words_lose_article_and_ending_but_keep_two_letters(word: str, stem: str) -> None:
    assert light_stem(word) == stem


@given(ARABIC)
def test_a_stem_is_a_part_of_its_word_and_never_shorter_than_two_letters(word: str) -> None:
    assert light_stem(word) in word
    assert len(light_stem(word)) >= min(len(word), 2)


def test_a_word_is_arabic_by_its_first_letter() -> None:
    assert [is_arabic(word) for word in ("كتاب", "\u0686ای", "book", "מטבח", "", "a كتاب")] == [
        *(True, True),
        *(False, False, False, False),
    ]


@pytest.mark.parametrize(
    ("words", "language"),
    [
        ("wie viele museen hat die stadt", "de"),
        ("quelle est la capitale de la france", "fr"),
        ("cual es la capital de espana", "es"),
        ("qual e la capitale degli italiani e dove", "it"),
        ("quais sao as cidades do brasil", "pt"),
        ("hoeveel inwoners heeft het land", "nl"),
        ("der bolt", "en"),
        ("de la", "fr"),
        ("was in", "en"),
        ("", "en"),
    ],
)
def test_the_language_of_a_question_is_that_of_most_stop_words_and_english_in_doubt(words: str, language: str) -> None:
    assert stop_words(words.split()) == STOP_WORDS[language]


@pytest.mark.parametrize("language", STOP_WORDS)
def test_stop_words_are_folded_as_the_words_of_a_question_are(language: str) -> None:
    assert {folded(word) for word in STOP_WORDS[language]} == STOP_WORDS[language]
