"""Fusing and arranging hits: examples worked out by hand, and what holds for whatever the lists contain."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import Hit
from services.search.arranging import arrange, best_per_document
from services.search.fusing import RankedList, explain, fuse
from services.search.question import FoundBy, Fusion, Passage, Question, Side
from services.search.relevance import Scale

EXACT_SCORES = st.integers(-64, 640).map(lambda number: number / 64)
HITS = st.dictionaries(st.integers(0, 30), EXACT_SCORES, max_size=6).map(
    lambda scores: [(faiss_id, score) for faiss_id, score in sorted(scores.items(), key=lambda it: (-it[1], it[0]))]
)
FUSIONS: tuple[Fusion, ...] = ("min_max", "reciprocal_rank")
"""Those that compare a list with itself alone."""
BOTH_FUSIONS = pytest.mark.parametrize("fusion", FUSIONS)

DENSE = [(1, 0.9), (2, 0.7), (3, 0.5)]
KEYWORD = [(3, 8.0), (4, 7.0), (1, 4.0)]


def ranked(*lists: list[Hit]) -> list[RankedList]:
    sides: tuple[Side, ...] = ("dense", "keyword")
    return [RankedList(sides[number % 2], number // 2, hits) for number, hits in enumerate(lists)]


def passage(doc_id: str, score: float, rerank_score: float | None = None) -> Passage:
    return Passage(
        *(doc_id, f"{doc_id}:{score}", 0, "text", score, {}, None, None, None, None, 0, 4, 1, 1, 0),
        rerank_score=rerank_score,
    )


# Fusing


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [
        ("min_max", {1: 0.5 + 0, 3: 0 + 0.5, 4: 0.75 / 2, 2: 0.5 / 2}),
        ("reciprocal_rank", {1: (1 + 61 / 63) / 2, 3: (61 / 63 + 1) / 2, 2: 61 / 62 / 2, 4: 61 / 62 / 2}),
    ],
)
def test_two_sides_count_half_each_and_of_equal_scores_the_lower_id_is_first(
    fusion: Fusion, expected: dict[int, float]
) -> None:
    fused = fuse(ranked(DENSE, KEYWORD), fusion)
    assert [faiss_id for faiss_id, _ in fused] == list(expected)
    assert dict(fused) == pytest.approx(expected)


ABSOLUTE = [
    RankedList("dense", 0, DENSE, Scale(zero=0.5, weight=0.25), {4: 0.4}),
    RankedList("keyword", 0, KEYWORD, Scale(one=16.0), {2: 0.0}),
]
"""A similarity counts from 0.5, what unrelated texts score, and a quarter; 16 is the most BM25 that the query could
score."""


def test_a_weighted_score_is_the_mean_of_a_similarity_above_chance_and_a_share_of_the_most_bm25() -> None:
    fused = fuse(ABSOLUTE, "weighted")
    expected = {
        3: (0.25 * 0 + 8 / 16) / 1.25,
        4: (0.25 * -0.2 + 7 / 16) / 1.25,
        1: (0.25 * 0.8 + 4 / 16) / 1.25,
        2: (0.25 * 0.4 + 0) / 1.25,
    }
    assert [faiss_id for faiss_id, _ in fused] == [3, 1, 4, 2]
    assert dict(fused) == pytest.approx(expected)


@given(one=HITS, other=HITS, depth=st.integers(0, 6))
def test_a_weighted_score_does_not_depend_on_what_else_was_found(one: list[Hit], other: list[Hit], depth: int) -> None:
    """Nor on how deep the lists are: a chunk that one of them lacks among its hits has its score beside them."""
    complete = fuse(_completed(one, other, depth=6), "weighted")
    cut = fuse(_completed(one, other, depth=depth), "weighted")
    assert dict(cut).items() <= dict(complete).items()
    assert cut == [each for each in complete if each[0] in dict(cut)]


@given(one=HITS, other=HITS, weight=st.sampled_from([1 / 64, 0.25, 1.0]))
def test_a_heavier_list_moves_each_score_towards_its_own(one: list[Hit], other: list[Hit], weight: float) -> None:
    light, heavy = _completed(one, other, depth=6, weight=weight / 2), _completed(one, other, depth=6, weight=weight)
    own = {hit[0]: hit[1] / 10 for hit in one}
    before, after = dict(fuse(light, "weighted")), dict(fuse(heavy, "weighted"))
    for faiss_id, score in after.items():
        target = own.get(faiss_id, 0.0)
        assert abs(score - target) <= abs(before[faiss_id] - target) + 1e-9


def test_a_list_without_a_vote_changes_nothing() -> None:
    lists = [RankedList("dense", 0, DENSE), RankedList("keyword", 0, [], Scale(one=0.0, weight=0.0))]
    assert fuse(lists, "weighted") == [(1, 0.9), (2, 0.7), (3, 0.5)]


def test_the_similarity_of_a_candidate_is_the_highest_that_any_dense_list_knows() -> None:
    lists = [*ABSOLUTE, RankedList("dense", 1, [(2, 0.9)], others={1: 0.1})]
    similarities = {each.faiss_id: each.similarity for each in explain(lists, [(n, 0.0) for n in (1, 2, 4, 77)])}
    assert similarities == {1: 0.9, 2: 0.9, 4: 0.4, 77: None}


def _completed(one: list[Hit], other: list[Hit], *, depth: int, weight: float = 0.5) -> list[RankedList]:
    candidates = {hit[0] for hit in one[:depth]} | {hit[0] for hit in other[:depth]}
    lists = []
    for side, hits, scale in (("dense", one, Scale(one=10.0, weight=weight)), ("keyword", other, Scale(one=10.0))):
        scores = {hit[0]: hit[1] for hit in hits}
        missing = candidates - {hit[0] for hit in hits[:depth]}
        others = {faiss_id: scores.get(faiss_id, 0.0) for faiss_id in missing}
        lists.append(RankedList(cast(Side, side), 0, hits[:depth], scale, others))
    return lists


@BOTH_FUSIONS
@given(hits=HITS)
def test_a_single_list_keeps_its_scores_and_its_order(fusion: Fusion, hits: list[Hit]) -> None:
    assert fuse(ranked(hits), fusion) == [(hit[0], hit[1]) for hit in hits]


@BOTH_FUSIONS
@given(one=HITS, other=HITS)
def test_it_does_not_matter_which_of_two_lists_is_first(fusion: Fusion, one: list[Hit], other: list[Hit]) -> None:
    assert fuse(ranked(one, other), fusion) == fuse(ranked(other, one), fusion)


@BOTH_FUSIONS
@given(lists=st.lists(HITS, min_size=2, max_size=3))
def test_every_hit_is_fused_once_with_a_score_between_0_and_1_best_first(
    fusion: Fusion, lists: list[list[Hit]]
) -> None:
    fused = fuse(ranked(*lists), fusion)
    assert sorted(faiss_id for faiss_id, _ in fused) == sorted({hit[0] for hits in lists for hit in hits})
    assert all(0 <= score <= 1 + 1e-12 for _, score in fused)
    assert fused == sorted(fused, key=lambda item: (-item[1], item[0]))


@BOTH_FUSIONS
@given(lists=st.lists(HITS, min_size=2, max_size=3))
def test_only_the_best_of_every_list_gets_1(fusion: Fusion, lists: list[list[Hit]]) -> None:
    (first, score), *others = fuse(ranked(*([(99, 11.0), *hits] for hits in lists)), fusion)
    assert first == 99
    assert score == pytest.approx(1.0)
    assert all(other < 1 - 1e-9 for _, other in others)


@BOTH_FUSIONS
@given(hits=HITS, empty_lists=st.integers(1, 4))
def test_beside_empty_lists_a_list_keeps_its_order_and_counts_its_share(
    fusion: Fusion, hits: list[Hit], empty_lists: int
) -> None:
    fused = fuse(ranked(hits, *([[]] * empty_lists)), fusion)
    assert [faiss_id for faiss_id, _ in fused] == [hit[0] for hit in hits]
    assert [score for _, score in fused[:1]] == pytest.approx([1 / (1 + empty_lists)] * len(fused[:1]))


@given(one=HITS, other=HITS, factor=st.sampled_from([0.25, 2.0, 64.0]), offset=st.integers(-5, 5))
def test_the_unit_of_a_sides_scores_makes_no_difference(
    one: list[Hit], other: list[Hit], factor: float, offset: int
) -> None:
    rescaled = [(hit[0], hit[1] * factor + offset) for hit in other]
    assert fuse(ranked(one, rescaled), "min_max") == fuse(ranked(one, other), "min_max")


@given(one=HITS, other=HITS)
def test_reciprocal_ranks_do_not_look_at_scores(one: list[Hit], other: list[Hit]) -> None:
    flattened = [(hit[0], 0.0) for hit in other]
    assert fuse(ranked(one, flattened), "reciprocal_rank") == fuse(ranked(one, other), "reciprocal_rank")


def test_hits_of_the_same_score_all_count_as_the_best_of_their_list() -> None:
    same = [(8, 0.0), (7, 0.0)]
    assert fuse(ranked(same, [(5, 3.0)]), "min_max") == [(5, 0.5), (7, 0.5), (8, 0.5)]


def test_the_best_are_explained_by_their_ranks_in_all_lists_that_have_them() -> None:
    third = [(2, 0.8), (9, 0.1)]
    [one, two, unlisted] = explain(ranked(DENSE, KEYWORD, third), [(2, 0.6), (1, 0.4), (77, 0.0)])
    assert (one.faiss_id, one.score) == (2, 0.6)
    assert one.found_by == (FoundBy("dense", 0, 2, 0.7), FoundBy("dense", 1, 1, 0.8))
    assert two.found_by == (FoundBy("dense", 0, 1, 0.9), FoundBy("keyword", 0, 3, 4.0))
    assert unlisted.found_by == ()


# The best chunks of each document

OWNERS = {1: "a", 2: "a", 3: "b", 4: "c", 5: "b", 6: "a"}


@pytest.mark.parametrize(
    ("size", "max_docs", "expected"),
    [
        (1, 2, [1, 3]),
        (2, 2, [1, 2, 3, 5]),
        (1, None, [1, 3, 4]),
        (9, 1, [1, 2, 6]),
        (9, None, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_the_best_chunks_of_the_best_documents_are_kept(size: int, max_docs: int | None, expected: list[int]) -> None:
    hits = [(99, 2.0), *((faiss_id, 1 / faiss_id) for faiss_id in OWNERS)]  # 99 belongs to no document
    kept = best_per_document(hits, OWNERS, size=size, max_docs=max_docs)
    assert kept == [(faiss_id, 1 / faiss_id) for faiss_id in expected]


# Arranging

ALIKE = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
"""The first two passages say the same."""

QUESTION = Question("tenant", "namespace", "query", 3)


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (1.0, ["first", "same", "other"]),
        (0.7, ["first", "same", "other"]),  # 0.7 * 0.8 - 0.3 * 1 = 0.26 is more than 0
        (0.5, ["first", "other", "same"]),  # 0.5 * 0.8 - 0.5 * 1 = -0.1 is less than 0
        (0.0, ["first", "other", "same"]),
    ],
)
def test_diversity_weighs_relevance_scaled_to_1_against_likeness(weight: float, expected: list[str]) -> None:
    passages = [passage("first", 30.0), passage("same", 28.0), passage("other", 20.0)]
    question = replace(QUESTION, mmr_lambda=weight)
    assert [each.doc_id for each in arrange(question, passages, ALIKE)] == expected
    assert [each.doc_id for each in arrange(replace(question, top_k=2), passages, ALIKE)] == expected[:2]
    assert arrange(question, passages, None) == arrange(question, [], ALIKE[:0]) + passages


def test_reranked_scores_count_as_relevance_and_passages_without_one_count_as_the_lowest() -> None:
    passages = [passage("beyond", 0.9), passage("lowest", 0.5, 1.0), passage("best", 0.1, 4.0)]
    apart = np.eye(3, dtype=np.float32)
    arranged = arrange(replace(QUESTION, mmr_lambda=0.9), passages, apart)
    assert [each.doc_id for each in arranged] == ["best", "beyond", "lowest"]


def test_passages_are_grouped_by_document_and_documents_rank_as_their_best() -> None:
    passages = [passage("a", 0.9), passage("b", 0.8), passage("a", 0.7), passage("c", 0.6), passage("b", 0.5)]
    arranged = arrange(replace(QUESTION, by_doc=True, group_size=2, top_k=2), passages, None)
    assert [(each.doc_id, each.score) for each in arranged] == [("a", 0.9), ("a", 0.7), ("b", 0.8), ("b", 0.5)]
    assert arrange(replace(QUESTION, top_k=2), passages, None) == passages[:2]
