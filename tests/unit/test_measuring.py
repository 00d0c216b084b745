"""Measures and judgements: values by the definitions, and what files and queries are taken or left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import Invalid
from services.evaluation.judging import MAX_RELEVANCE, QUOTED_CHARS, match_judgements, quoted
from services.evaluation.measuring import measure, p_value
from text.judgements import read_qrels, read_runs, write_runs

# Measures

FILLER = [f"filler-{number}" for number in range(200)]


@pytest.mark.parametrize(
    ("rank", "ndcg", "recall_10", "recall_100", "mrr"),
    [
        (1, 1, 1, 1, 1),
        (2, 1 / math.log2(3), 1, 1, 1 / 2),
        (3, 1 / 2, 1, 1, 1 / 3),
        (7, 1 / 3, 1, 1, 1 / 7),
        (10, 1 / math.log2(11), 1, 1, 1 / 10),
        (11, 0, 0, 1, 0),
        (100, 0, 0, 1, 0),
        (101, 0, 0, 0, 0),
    ],
)
def test_a_single_relevant_document_counts_by_its_rank(
    rank: int, ndcg: float, recall_10: float, recall_100: float, mrr: float
) -> None:
    values = measure({"q": {"d": 1}}, {"q": [*FILLER[: rank - 1], "d", *FILLER[rank:]]})
    expected = {"nDCG@10": [ndcg], "Recall@10": [recall_10], "Recall@100": [recall_100], "MRR@10": [mrr]}
    assert values == {name: pytest.approx(value) for name, value in expected.items()}


def test_of_more_relevant_documents_than_fit_the_ideal_is_a_full_page_and_recall_is_a_share() -> None:
    values = measure({"q": dict.fromkeys(FILLER[:20], 1)}, {"q": FILLER[:10]})
    assert values == {"nDCG@10": pytest.approx([1]), "Recall@10": [0.5], "Recall@100": [0.5], "MRR@10": [1]}


@given(
    st.dictionaries(st.sampled_from(FILLER[:30]), st.integers(-1, 4), min_size=1),
    st.permutations(FILLER[:30]),
    st.data(),
)
def test_whatever_is_judged_and_ranked_the_values_are_those_of_the_definitions(
    judged: dict[str, int], order: list[str], data: st.DataObject
) -> None:
    docs = order[: data.draw(st.integers(0, 30))]
    gains = [max(0, judged.get(doc, 0)) for doc in docs]
    relevant = sum(value > 0 for value in judged.values())
    ideal = discounted(sorted((max(0, value) for value in judged.values()), reverse=True))
    expected = {
        "nDCG@10": discounted(gains) / ideal if ideal else 0,
        "Recall@10": sum(gain > 0 for gain in gains[:10]) / relevant if relevant else 0,
        "Recall@100": sum(gain > 0 for gain in gains) / relevant if relevant else 0,
        "MRR@10": next((1 / rank for rank, gain in enumerate(gains[:10], 1) if gain > 0), 0),
    }
    values = measure({"q": judged}, {"q": docs})
    assert {name: value for name, [value] in values.items()} == pytest.approx(expected)


def discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains[:10], 1))


@given(st.permutations(["a", "b", "c", "d"]))
def test_values_are_in_the_order_of_the_judged_queries(order: list[str]) -> None:
    run = {"d": ["x", "x2", "x3", "d"], "b": ["x", "b"], "c": ["x", "x2", "c"], "a": ["a"]}
    values = measure({query: {query: 1} for query in order}, run)
    assert values["MRR@10"] == pytest.approx([1 / (1 + "abcd".index(query)) for query in order])


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1.0, 3.0], 1 - 2 / math.pi * math.atan(2)),  # t = 2, one degree of freedom: Cauchy's distribution
        ([1.0, 2.0, 3.0], 1 - math.sqrt(12 / 14)),  # t = 2 √3, two degrees: 1 - t / √(2 + t²)
        ([1.0, -1.0, 0.0], 1.0),  # t = 0
        ([0.0, 0.0, 0.0], 1.0),
        ([], 1.0),
        ([0.25], None),
        ([0.25, 0.25, 0.25], None),
    ],
)
def test_the_chance_of_a_difference_is_that_of_students_formulas(
    differences: list[float], expected: float | None
) -> None:
    base = [0.5 * number for number in range(len(differences))]
    higher = [value + more for value, more in zip(base, differences, strict=True)]
    for value in (p_value(higher, base), p_value(base, higher)):
        assert value == (None if expected is None else pytest.approx(expected))


# Judgements of queries


def test_only_queries_with_a_relevant_document_are_measured_and_the_others_are_counted() -> None:
    queries = {"good": "a", "bad": "b", "worse": "c", "unjudged": "d", "blank": "e", "also": "f"}
    qrels = {"unknown": {"z": 1}, "good": {"x": 1, "y": 0}, "bad": {"w": 0}, "worse": {"v": -1}, "blank": {}}
    matched = match_judgements(queries, {**qrels, "also": {"x": MAX_RELEVANCE, "u": -MAX_RELEVANCE}})
    assert matched.queries == {"good": "a", "also": "f"}
    assert list(matched.qrels) == ["good", "also"]
    assert matched.doc_ids == {"x", "y", "u"}
    assert (matched.queries_without_qrels, matched.queries_without_relevant, matched.qrels_without_query) == (2, 2, 1)
    assert [note.split(":")[0] for note in matched.notes()] == [
        "2 queries are not judged in qrels",
        "2 queries have no relevant document in qrels",
        "1 queries of qrels are not among the queries",
    ]
    assert list(match_judgements({"q": "a"}, {"q": {"d": 1}}).notes()) == []


@pytest.mark.parametrize(
    ("queries", "qrels", "param", "why"),
    [
        ({}, {"q": {"d": 1}}, "queries", "no queries"),
        ({"q": "a"}, {}, "qrels", "are empty"),
        ({"q": "a"}, {"q": {}}, "qrels", "are empty"),
        ({"q": "a", "r": "\t\x00"}, {"q": {"d": 1}}, "queries", "'r' is empty"),
        ({"q": "a"}, {"q": {"d": MAX_RELEVANCE + 1}}, "qrels", "'q' is beyond 1000"),
        ({"q": "a"}, {"q": {"d": -MAX_RELEVANCE - 1}}, "qrels", "'q' is beyond 1000"),
        ({"q": "a"}, {"q": {"d": 0}}, "qrels", "None of the 1 queries .* and 0 are not in it"),
        ({"q": "a", "r": "b"}, {"s": {"d": 1}}, "qrels", "None of the 2 queries .* and 2 are not in it"),
    ],
)
def test_what_cannot_be_measured_is_refused_by_its_field(
    queries: dict[str, str], qrels: dict[str, dict[str, int]], param: str, why: str
) -> None:
    with pytest.raises(Invalid, match=why) as refusal:
        match_judgements(queries, qrels)
    assert refusal.value.param == param


def test_a_long_name_is_quoted_by_its_beginning() -> None:
    assert quoted("x" * QUOTED_CHARS) == repr("x" * QUOTED_CHARS)
    assert quoted("x" * QUOTED_CHARS + "y") == repr("x" * QUOTED_CHARS + "…")
    assert quoted("it's\n") == '"it\'s\\n"'


# Files

IDS = st.sampled_from(["a", "B7", "7", "a b", "a  b", "x:y", "é", "_", "-", "a\u2028b", "Q0"])


@given(
    st.dictionaries(
        IDS, st.dictionaries(IDS, st.lists(IDS, min_size=1, max_size=6), min_size=1, max_size=2), max_size=2
    )
)
def test_runs_are_read_as_they_were_written(runs: dict[str, dict[str, list[str]]]) -> None:
    lines = list(write_runs(runs))
    assert read_runs("".join(lines)) == read_runs("".join(reversed(lines))) == runs


def test_the_documents_of_a_run_are_in_the_order_of_their_ranks_as_numbers() -> None:
    content = "q Q0 tenth 10 9.0 t\nq Q0 second 2 1.0 t\nq Q0 first 1 0.5 t\nq Q0 alone 5 1 other\n"
    assert read_runs(content) == {"t": {"q": ["first", "second", "tenth"]}, "other": {"q": ["alone"]}}


def test_a_judgement_may_be_repeated_but_not_contradicted() -> None:
    assert read_qrels("q d 1\nr d 0\nq d 1\nq e 0") == {"q": {"d": 1, "e": 0}, "r": {"d": 0}}
    with pytest.raises(Invalid, match=r"Line 2: document 'd' has come before, with relevance 1\."):
        read_qrels("q d 1\nq d 2")
