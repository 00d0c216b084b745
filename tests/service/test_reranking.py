"""A reranker reorders the best candidates; one that fails costs nothing but its order, and the answer says so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from services.search.question import Question
from tests.support.prose import WORDS
from tests.support.reranking_server import RerankingServer, number_of, reranking_server
from tests.support.service import PLACE, Service, Store

DOCS = 40
on_sqlite = pytest.mark.parametrize("service", [Store.SQLITE], indirect=True)


def fill(service: Service) -> None:
    service.batch({f"doc-{n:02d}": f"Stone {WORDS[n % len(WORDS)]} has the rank {n * 7 % DOCS}" for n in range(DOCS)})


def texts(answer: Any) -> list[str]:
    return [chunk["text"] for chunk in answer["chunks"]]


def remote(server: RerankingServer, **more: Any) -> dict[str, Any]:
    return {"rerank_base_url": server.url, **more}


@pytest.mark.parametrize("api", ["tei", "cohere"])
@on_sqlite
def test_the_best_candidates_come_in_the_servers_order(service: Service, api: str) -> None:
    fill(service)
    fused = texts(service.search("stone", mode="hybrid", top_k=DOCS))
    with (
        reranking_server() as server,
        service.restarted(**remote(server, rerank_api=api, rerank_api_key="secret", rerank_depth=35)) as reranking,
    ):
        answer = reranking.search("stone", mode="hybrid", top_k=DOCS, explain=True)
        plain = reranking.search("stone", mode="hybrid", top_k=DOCS, rerank=False)
    assert answer["reranked"] is True and plain["reranked"] is None
    assert texts(plain) == fused
    assert texts(answer) == [*sorted(fused[:35], key=number_of, reverse=True), *fused[35:]]
    scores = [chunk["rerank_score"] for chunk in answer["chunks"]]
    assert scores == [*map(number_of, texts(answer)[:35]), *[None] * 5]
    assert [chunk["score"] for chunk in answer["chunks"]] != sorted(scores[:35])
    assert "rerank_ms" in answer["timings"]
    real = [sent for sent in server.requests if sent["query"] == "stone"]
    assert [len(sent.get("texts") or sent["documents"]) for sent in real] == [32, 3]
    assert {sent["path"] for sent in real} == {"/v1/rerank"}
    assert set(server.tokens) == {"Bearer secret"}


@on_sqlite
def test_documents_and_diversity_follow_the_rerankers_order(service: Service) -> None:
    fill(service)
    with reranking_server() as server, service.restarted(**remote(server)) as reranking:
        grouped = reranking.search("stone", mode="hybrid", top_k=3, group_by="doc")
        diverse = reranking.search("stone", top_k=3, mmr_lambda=1)
        assert [number_of(text) for text in texts(grouped)] == [39, 38, 37]
        assert [number_of(text) for text in texts(diverse)] == [39, 38, 37]
        assert reranking.search("stone", top_k=1)["chunks"][0]["rerank_score"] == 39
        nowhere = reranking.search("stone", namespace="nowhere")
        assert (nowhere["chunks"], nowhere["reranked"]) == ([], None)


@pytest.mark.parametrize(
    ("status", "answers"),
    [
        (500, {"error": "out of memory"}),
        (401, {}),
        (200, b"not JSON"),
        (200, []),
        (200, [{"index": n, "score": "high"} for n in range(DOCS)]),
        (200, [{"index": n, "score": float("nan")} for n in range(DOCS)]),
        (200, {"results": None}),
        (200, {"results": [{"index": 0}]}),
        (200, [{"index": n, "score": n} for n in range(3)]),
        (200, [{"index": n, "score": n} for n in range(DOCS + 1)]),
    ],
)
@on_sqlite
def test_a_reranker_that_fails_leaves_the_fused_order(service: Service, status: int, answers: Any) -> None:
    fill(service)
    fused = texts(service.search("stone", mode="hybrid", top_k=5))
    with reranking_server() as server, service.restarted(**remote(server)) as reranking:
        server.status, server.answers = status, answers
        answer = reranking.search("stone", mode="hybrid", top_k=5)
        assert (answer["reranked"], texts(answer)) == (False, fused)
        assert reranking.post("/v1/ask", {**PLACE, "question": "Which stone?"})["reranked"] is False
        assert {chunk["rerank_score"] for chunk in answer["chunks"]} == {None}
        server.status, server.answers = 200, None
        assert reranking.search("stone", mode="hybrid", top_k=5)["reranked"] is True


@on_sqlite
def test_nobody_waits_for_a_slow_reranker_longer_than_allowed_nor_for_anothers(service: Service) -> None:
    fill(service)
    with (
        reranking_server() as server,
        service.restarted(**remote(server, rerank_timeout_seconds=1.0)) as reranking,
        ThreadPoolExecutor(1) as pool,
    ):
        server.may_answer.clear()
        server.has_request.clear()
        slow = pool.submit(reranking.search, "stone", mode="hybrid")
        assert server.has_request.wait(30)
        assert len(reranking.search("stone", rerank=False)["chunks"]) == 5
        answer = slow.result(30)
        assert answer["reranked"] is False and len(answer["chunks"]) == 5
        assert not server.may_answer.is_set()


@on_sqlite
def test_whoever_waits_behind_others_does_not_wait_longer(service: Service) -> None:
    """Their patience ends with that of the first ones, so the server is not asked for them any more."""
    fill(service)
    with (
        reranking_server() as server,
        service.restarted(**remote(server, rerank_timeout_seconds=2.0)) as reranking,
    ):
        server.may_answer.clear()
        question = Question(PLACE["tenant_id"], PLACE["namespace"], "stone", 5, mode="keyword", rerank=True)
        futures = [reranking.runtime.search.questions.submit(question) for _ in range(80)]
        assert [future.result(60).reranked for future in futures] == [False] * 80
        assert 0 < sum(sent["query"] == "stone" for sent in server.requests) < 40


@on_sqlite
def test_a_server_that_is_not_there_and_a_model_that_is_not_there_are_told(service: Service) -> None:
    fill(service)
    for wrong in ({"rerank_base_url": "http://127.0.0.1:9"}, {"rerank_model_name": "/there/is/no/such/model"}):
        with service.restarted(**wrong) as reranking:
            assert reranking.search("stone")["reranked"] is False


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as SentenceTransformers reads it: a very small BERT with random weights that gives one number."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("cross-encoder")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "stone", "has", "the", "rank", *sorted(set(WORDS) - {"stone"})]
    vocabulary = {name: number for number, name in enumerate([*names, *map(str, range(DOCS))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    make_tokenizer: Any = PreTrainedTokenizerFast
    make_tokenizer(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(7)
    small: dict[str, Any] = {
        "num_labels": 1,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    config = BertConfig(vocab_size=len(vocabulary), initializer_range=0.5, **small)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@on_sqlite
def test_a_cross_encoder_in_this_process_decides_the_order(service: Service, cross_encoder: Path) -> None:
    from sentence_transformers import CrossEncoder

    fill(service)
    with service.restarted(rerank_model_name=str(cross_encoder), rerank_timeout_seconds=60) as reranking:
        answer = reranking.search("stone", mode="hybrid", top_k=DOCS)
    every = texts(answer)
    expected = CrossEncoder(str(cross_encoder)).predict([("stone", text) for text in every])
    assert answer["reranked"] is True
    assert [chunk["rerank_score"] for chunk in answer["chunks"]] == pytest.approx(expected.tolist(), abs=1e-5)
    assert len(set(expected.tolist())) > DOCS / 2
    assert sorted(expected.tolist(), reverse=True) == pytest.approx(expected.tolist(), abs=1e-5)
