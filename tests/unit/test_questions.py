"""What a question may be, before anything is searched: the same for every door."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from errors import Invalid
from services.search.checking import MAX_QUERIES, QuestionLimits, checked, choose_mode
from services.search.question import Question

LIMITS = QuestionLimits(top_k=10, query_chars=20, name_chars=8, default_mode="keyword", has_reranker=False)
QUESTION = Question("acme", "docs", "Who sails?", 5)
VECTOR = b"\x00\x00\x80\x3f"


@pytest.mark.parametrize(
    ("change", "param", "message"),
    [
        ({"tenant_id": " "}, "tenant_id", "tenant_id is empty."),
        ({"namespace": "n" * 9}, "namespace", "namespace has 9 characters; at most 8 are accepted."),
        ({"embedding_version": ""}, "embedding_version", "embedding_version is empty."),
        ({"top_k": 11}, "top_k", "top_k is 11; at most 10 is served (MAX_TOP_K)."),
        (
            {"by_doc": True, "group_size": 3},
            "top_k",
            "top_k times group_size is 15; at most 10 is served (MAX_TOP_K).",
        ),
        ({"query": " \n"}, "question", "question is empty: say what to look for."),
        ({"query": None}, "question", "question is empty: say what to look for."),
        (
            {"query": "x" * 21},
            "question",
            "question has 21 characters; at most 20 are read (MAX_QUERY_CHARS).",
        ),
        ({"queries": ("a", "")}, "queries.1", "queries.1 is empty: say what to look for."),
        (
            {"queries": ("a",) * (MAX_QUERIES + 1)},
            "queries",
            f"queries has {MAX_QUERIES + 1} questions; at most {MAX_QUERIES} are fused.",
        ),
        ({"min_score": 2}, "min_score", "min_score is 2, but nothing scores more than 1 in mode dense."),
        (
            {"min_score": 2, "mode": "keyword", "queries": ("a",)},
            "min_score",
            "min_score is 2, but nothing scores more than 1 in mode keyword with several queries.",
        ),
        ({"rerank": True}, "rerank", "This service has no reranker: "),
        ({"vector": VECTOR}, "query", "Mode dense looks for query or for vector, not for both: "),
        ({"vector": VECTOR, "query": None, "mode": "hybrid"}, "vector", "A vector has no words: "),
        ({"vector": VECTOR, "query": None, "queries": ("a",)}, "queries", "A vector is searched with one query "),
        ({"vector": VECTOR, "query": "", "mode": "hybrid"}, "question", "question is empty: "),
    ],
)
def test_a_question_beyond_a_limit_is_refused_by_the_name_of_its_field(
    change: dict[str, Any], param: str, message: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        checked(replace(QUESTION, **change), LIMITS, field="question")
    assert refusal.value.param == param
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"top_k": 10},
        {"query": None, "queries": ("a", "b")},
        {"query": None, "vector": VECTOR},
        {"vector": VECTOR, "mode": "hybrid"},
        {"min_score": 7, "mode": "keyword"},
    ],
)
def test_a_question_within_the_limits_stays_as_it_is(change: dict[str, Any]) -> None:
    question = replace(QUESTION, **change)
    assert checked(question, LIMITS) is question


def test_a_question_that_names_no_mode_has_the_settings_or_what_its_vector_implies() -> None:
    assert choose_mode(None, LIMITS) == "keyword"
    assert choose_mode("dense", LIMITS) == "dense"
    assert choose_mode(None, LIMITS, has_words=False, has_vector=True) == "dense"
    assert choose_mode(None, LIMITS, has_words=True, has_vector=True) == "hybrid"
    assert choose_mode("keyword", LIMITS, has_words=True, has_vector=True) == "keyword"
