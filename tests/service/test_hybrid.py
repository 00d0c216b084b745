"""Both sides in one answer: what a score is made of, and what else can be asked of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.search.question import Answer, Question
from services.search.searching import RawAnswer
from tests.support.prose import prose
from tests.support.service import PLACE, Service

QUERY = "copper window harbour 7-0"


def fill(service: Service) -> None:
    service.batch({f"doc-{number:02d}": prose(number) for number in range(40)})


@pytest.fixture(scope="module")
def filled(shared_service: Service) -> Service:
    """For tests that only ask."""
    fill(shared_service)
    return shared_service


@pytest.fixture(scope="module")
def hundreds(shared_service: Service) -> dict[str, str]:
    """Likewise: a namespace of three hundred documents, each of which has its number and speaks of stone."""
    place = {**PLACE, "namespace": "hundreds"}
    docs = [{**place, "doc_id": f"doc-{n:03d}", "text": f"stone {prose(n)}", "metadata": {"n": n}} for n in range(300)]
    shared_service.post("/v1/docs/upsert/batch", {"docs": docs})
    return place


@pytest.fixture(scope="module")
def one_large(shared_service: Service) -> dict[str, str]:
    """Likewise: a namespace of one document of more than a thousand chunks, and three of two."""
    place = {**PLACE, "namespace": "one-large"}
    large = "\n\n".join(f"# Stone {n}\n\nStone and more stone, {n}." for n in range(1100))
    small = {f"small-{n}": f"# One\n\nA stone.\n\n# Two\n\nThe garden of {prose(n)}" for n in range(3)}
    docs = [{**place, "doc_id": doc_id, "text": text} for doc_id, text in {"large": large, **small}.items()]
    shared_service.post("/v1/docs/upsert/batch", {"docs": docs})
    return place


def scores(service: Service, query: str = QUERY, **more: Any) -> dict[str, float]:
    chunks = service.search(query, **{"top_k": 1000, "mode": "dense", **more})["chunks"]
    return {chunk["doc_id"]: chunk["score"] for chunk in chunks}


def shares(scores: dict[str, float]) -> dict[str, float]:
    lowest, highest = min(scores.values()), max(scores.values())
    return {name: (score - lowest) / (highest - lowest) for name, score in scores.items()}


def test_a_number_that_means_nothing_to_the_model_is_found(service: Service) -> None:
    fill(service)
    service.upsert("invoice", "Payment of INV-2291-K was received.")
    assert service.hit_ids("INV-2291-K", mode="hybrid", top_k=1) == ["invoice"]
    assert service.hit_ids("INV-2291-K", mode="keyword") == ["invoice"]


def test_hybrid_is_the_weighted_mean_of_what_both_sides_score(filled: Service) -> None:
    """Whatever the mode's name stands for, the scores of all chunks fit one weight of the dense side, and one scale."""
    dense, keyword, fused = scores(filled), scores(filled, mode="keyword"), scores(filled, mode="hybrid")
    names = sorted(fused)
    sides = np.array([[dense[name], keyword.get(name, 0.0), 1.0] for name in names])
    actual = np.array([fused[name] for name in names])
    fitted, *_ = np.linalg.lstsq(sides, actual, rcond=None)
    assert sides @ fitted == pytest.approx(actual, abs=1e-5)
    assert 0 < fitted[0] < 0.55 and fitted[1] > 0
    assert max(fused.values()) <= 1


def test_a_hit_has_the_same_score_and_similarity_however_many_are_asked_for(
    shared_service: Service, hundreds: dict[str, str]
) -> None:
    """Also where one side has it beyond the hits that are fused."""
    question: dict[str, Any] = {**hundreds, "mode": "hybrid"}
    by_meaning: dict[str, Any] = {**hundreds, "mode": "dense", "top_k": 300}
    dense = shared_service.search(QUERY, **by_meaning)["chunks"]
    similarity = {hit["doc_id"]: hit["score"] for hit in dense}
    every = {hit["doc_id"]: hit for hit in shared_service.search(QUERY, **question, top_k=300)["chunks"]}
    assert len(every) == 300
    ways: list[dict[str, Any]] = [{}, {"group_by": "doc"}, {"filters": {"n": {"$gte": 290}}}]
    for more in ways:
        for hit in shared_service.search(QUERY, **question, **more)["chunks"]:
            assert hit["score"] == pytest.approx(every[hit["doc_id"]]["score"], abs=1e-6)
            assert hit["similarity"] == pytest.approx(similarity[hit["doc_id"]], abs=1e-6)
    for fusion in ("min_max", "reciprocal_rank"):
        for hit in shared_service.search(QUERY, **question, fusion=fusion)["chunks"]:
            assert hit["similarity"] == pytest.approx(similarity[hit["doc_id"]], abs=1e-6)
    by_word: dict[str, Any] = {**hundreds, "mode": "keyword"}
    assert shared_service.search(QUERY, **by_word)["chunks"][0]["similarity"] is None


def test_min_max_is_half_of_each_sides_scaled_scores(filled: Service) -> None:
    dense, keyword = shares(scores(filled)), shares(scores(filled, mode="keyword"))
    expected = {name: (dense.get(name, 0) + keyword.get(name, 0)) / 2 for name in dense.keys() | keyword.keys()}
    assert scores(filled, mode="hybrid", fusion="min_max") == pytest.approx(expected, abs=1e-6)


def test_where_the_model_knows_no_word_the_words_decide(service: Service) -> None:
    """Thai, of which the English model's vocabulary has hardly a letter."""
    texts = {"rain": "ฝนตกหนักในกรุงเทพเมื่อวานนี้", "market": "ตลาดน้ำเปิดทุกวันเสาร์", "train": "รถไฟไปเชียงใหม่ออกตอนเย็น"}
    service.batch(texts)
    for name, query in {"rain": "ฝนตกที่ไหน", "market": "ตลาดน้ำเปิดวันไหน", "train": "รถไฟออกกี่โมง"}.items():
        hits = service.search(query, mode="hybrid")["chunks"]
        assert [hit["doc_id"] for hit in hits][:1] == [name]
        assert len(hits) == len(texts)


def test_reciprocal_ranks_are_the_other_way_to_fuse(filled: Service) -> None:
    sides = [list(scores(filled)), list(scores(filled, mode="keyword"))]
    expected = {
        name: sum(61 / (61 + side.index(name)) for side in sides if name in side) / 2
        for name in {name for side in sides for name in side}
    }
    assert scores(filled, mode="hybrid", fusion="reciprocal_rank") == pytest.approx(expected)


def test_explain_shows_where_each_side_had_a_chunk_and_with_which_score(filled: Service) -> None:
    dense, keyword = scores(filled), scores(filled, mode="keyword")
    answer = filled.search(QUERY, mode="hybrid", explain=True, top_k=20)
    assert set(answer["timings"]) == {"embed_ms", "catch_up_ms", "index_ms", "keywords_ms", "fetch_ms"}
    for chunk in answer["chunks"]:
        name, sides = chunk["doc_id"], {each["side"]: each for each in chunk["found_by"]}
        for side, expected in (("dense", dense), ("keyword", keyword)):
            assert (side in sides) == (name in expected)
            if side in sides:
                assert sides[side]["score"] == pytest.approx(expected[name], abs=1e-6)
                assert list(expected)[sides[side]["rank"] - 1] == name
    assert filled.search(QUERY, mode="hybrid")["chunks"][0]["found_by"] is None


def test_more_than_one_question_is_fused(filled: Service) -> None:
    one, other = shares(scores(filled, "winter garden")), shares(scores(filled, "copper harbour"))
    fused = {"queries": ["copper harbour"], "fusion": "min_max"}
    both = scores(filled, "winter garden", **fused)
    assert both == pytest.approx({name: (one[name] + other[name]) / 2 for name in one}, abs=1e-6)
    alone = filled.post(
        "/v1/search",
        {**PLACE, "queries": ["winter garden", "copper harbour"], "top_k": 1000, "mode": "dense", "fusion": "min_max"},
    )
    assert {chunk["doc_id"]: chunk["score"] for chunk in alone["chunks"]} == pytest.approx(both)
    sides = filled.search("winter", queries=["stone"], mode="hybrid", explain=True, top_k=1)["chunks"][0]["found_by"]
    assert {(each["side"], each["query"]) for each in sides} >= {("dense", 0), ("dense", 1)}


def test_questions_of_every_mode_are_answered_together(filled: Service) -> None:
    questions = [
        Question(PLACE["tenant_id"], PLACE["namespace"], QUERY, 3, mode=mode, queries=more)
        for mode in ("dense", "keyword", "hybrid")
        for more in ((), ("winter garden",))
    ]
    searching = filled.runtime.search.searching
    for question, answer in zip(questions, searching.search_many(questions), strict=True):
        assert isinstance(answer, Answer)
        alone = searching.search(question).passages
        assert [each.doc_id for each in answer.passages] == [each.doc_id for each in alone]
        assert [each.score for each in answer.passages] == pytest.approx([each.score for each in alone], abs=1e-6)


def test_what_scores_less_than_the_least_is_left_out(filled: Service) -> None:
    for mode in ("dense", "keyword", "hybrid"):
        every = scores(filled, mode=mode)
        least = sorted(every.values())[len(every) // 2]
        assert scores(filled, mode=mode, min_score=least) == {k: v for k, v in every.items() if v >= least}


def test_an_answer_without_a_chunk_says_why_where_that_is_known(filled: Service) -> None:
    best = max(scores(filled, mode="keyword").values())
    assert best > 1
    for more in ({}, {"group_by": "doc"}, {"mmr_lambda": 0.5}):
        hint = filled.search(QUERY, mode="keyword", min_score=best + 1, **more)["hint"]
        assert hint == f"The best chunk has score {best:.3f}, below min_score {best + 1:g}."
    assert "no letter and no digit" in filled.search("¿...?", mode="keyword")["hint"]
    assert filled.search("¿...?", mode="hybrid")["hint"] is None
    assert "No passage has the word 'zymurgi'" in filled.search("zymurgy", mode="keyword")["hint"]


@pytest.mark.parametrize("mode", ["dense", "keyword", "hybrid"])
def test_grouped_by_document_the_best_chunks_of_top_k_documents_come(
    shared_service: Service, one_large: dict[str, str], mode: str
) -> None:
    """Even where the best thousand chunks are one document's."""
    request: dict[str, Any] = {**one_large, "mode": mode, "group_by": "doc"}
    chunks = shared_service.search("stone", top_k=4, group_size=2, **request)["chunks"]
    names = [chunk["doc_id"] for chunk in chunks]
    assert set(names) == {"large", "small-0", "small-1", "small-2"}
    assert names == sorted(names, key=names.index)  # each document's chunks stand together
    assert max(names.count(name) for name in names) == 2
    assert shared_service.hit_ids("stone", top_k=2, **request)[0] == "large"


def test_diversity_prefers_what_is_not_said_yet(service: Service) -> None:
    service.batch({f"same-{n}": f"Cats sleep all day long. {'!' * n}" for n in range(3)})
    service.upsert("other", "Dogs bark at cats at night.")
    assert "other" not in service.hit_ids("cats sleep", top_k=3)
    for mode in ("dense", "hybrid"):
        assert service.hit_ids("cats sleep", mode=mode, top_k=2, mmr_lambda=0.2)[1] == "other"
        assert service.hit_ids("cats sleep", mode=mode, top_k=4, mmr_lambda=1) == service.hit_ids(
            "cats sleep", mode=mode, top_k=4
        )


def test_what_is_rearranged_is_not_more_than_one_list_has_however_many_are_fused(
    shared_service: Service, hundreds: dict[str, str]
) -> None:
    searching = shared_service.runtime.search.searching
    reranked = Question(
        hundreds["tenant_id"], hundreds["namespace"], QUERY, 5, queries=("winter", "stone letter"), rerank=True
    )
    for question in (reranked, replace(reranked, mode="hybrid"), replace(reranked, mode="hybrid", by_doc=True)):
        [candidates] = searching.find_many([question])
        assert isinstance(candidates, RawAnswer)
        assert len(candidates.answer.passages) == 200
        best = searching.search(replace(question, top_k=200, rerank=False)).passages
        assert [each.faiss_id for each in best] == [each.faiss_id for each in candidates.answer.passages]


def test_text_and_metadata_can_be_left_out_and_neighbours_added(service: Service) -> None:
    parts = [f"# Part {n}\n\nThis is part {n} of the whole. {prose(n)}" for n in range(5)]
    service.upsert("doc", "\n\n".join(parts), metadata={"k": 1}, chunk_overlap=40)
    chunks = service.chunks("doc")
    assert len(chunks) == 5
    [hit] = service.search("part 2 of the whole", mode="keyword", top_k=1, context=1, include=["metadata"])["chunks"]
    assert (hit["text"], hit["metadata"]) == (None, {"k": 1})
    place = next(n for n, chunk in enumerate(chunks) if chunk["chunk_id"] == hit["chunk_id"])
    near = chunks[max(place - 1, 0) : place + 2]
    whole = "\n\n".join(parts)
    assert hit["context"].split() == whole[near[0]["char_start"] : near[-1]["char_end"]].split()
    [bare] = service.search("part", top_k=1, include=[])["chunks"]
    assert (bare["text"], bare["metadata"], bare["context"]) == (None, None, None)


@pytest.mark.parametrize("mode", ["dense", "keyword", "hybrid"])
def test_filters_leave_a_full_answer_of_what_they_allow(
    shared_service: Service, hundreds: dict[str, str], mode: str
) -> None:
    request: dict[str, Any] = {**hundreds, "mode": mode}
    hits = shared_service.hit_ids("stone garden", top_k=10, filters={"n": {"$gte": 288}}, **request)
    assert len(hits) == 10 and all(name >= "doc-288" for name in hits)
    assert shared_service.hit_ids("stone garden", filters={"n": 7}, **request) == ["doc-007"]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"mode": "sparse"}, "mode"),
        ({"query": None}, "query"),
        ({"query": None, "queries": [" "]}, "queries"),
        ({"queries": ["a"] * 17}, "queries"),
        ({"queries": ["a" * 10_001]}, "queries"),
        ({"mmr_lambda": 1.5}, "mmr_lambda"),
        ({"group_by": "title"}, "group_by"),
        ({"group_by": "doc", "group_size": 100, "top_k": 11}, "top_k"),
        ({"include": ["vectors"]}, "include"),
        ({"context": 11}, "context"),
        ({"rerank": True}, "rerank"),
        ({"query": "\x00"}, "query"),
        ({"queries": ["\x00"]}, "queries"),
        ({"min_score": "nan"}, "min_score"),
        ({"mode": "dense", "min_score": 7}, "min_score"),
        ({"mode": "hybrid", "min_score": 7}, "min_score"),
        ({"mode": "keyword", "queries": ["dogs"], "min_score": 7}, "min_score"),
    ],
)
def test_what_cannot_be_asked_is_named(shared_service: Service, wrong: dict[str, Any], param: str) -> None:
    problem = shared_service.post("/v1/search", {**PLACE, "query": "cats", **wrong}, expect=422)
    assert param in problem["error"]["param"]
