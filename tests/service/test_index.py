"""Checkpoint, tail and the dead: searches are right whatever the files say."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from index_manager import Checkpoint, OpenPartition
from loaded_index import LoadedIndex
from services.ingest.own_chunks import unit_vector
from services.search.question import Answer, Question
from tests.support.prose import fill, prose
from tests.support.service import PLACE, Service, Store, every_faiss_store, every_store
from text.filter_spellings import parse


@every_store
def test_a_stopped_worker_never_makes_a_search_wrong_or_short(service: Service) -> None:
    fill(service, 50)
    service.rebuild()
    deleted = {f"doc-{number:02d}" for number in range(0, 40, 2)}
    jobs = {service.delete(doc_id)["job_id"] for doc_id in deleted}
    assert len(jobs) == 1
    for top_k in (1, 5, 30, 40):
        hits = service.hit_ids("stone garden winter", top_k=top_k)
        assert len(hits) == min(top_k, 30)
        assert not deleted & set(hits)
    assert service.problems() == []
    assert service.work() == 1
    assert service.stats()["dirty"] is False
    assert len(service.hit_ids("stone garden winter", top_k=50)) == 30
    assert service.problems() == []


@every_store
def test_hits_and_scores_are_those_of_an_exact_search(service: Service) -> None:
    fill(service, 40)
    service.rebuild()
    for number in range(0, 40, 3):
        service.delete(f"doc-{number:02d}")
    service.batch({f"doc-{number:02d}": prose(number) for number in range(40, 60)})
    embedder = service.runtime.index.embedding.embedder(service.settings.version)
    texts = {n: prose(n) for n in range(60) if n >= 40 or n % 3}
    vectors = embedder.embed_documents(list(texts.values()))
    query = "copper window harbour"
    scores = vectors @ embedder.embed_queries([query])[0]
    expected = sorted(zip(scores.tolist(), (f"doc-{n:02d}" for n in texts), strict=True), reverse=True)[:10]
    chunks = service.search(query, top_k=10, mode="dense")["chunks"]
    assert [chunk["doc_id"] for chunk in chunks] == [doc_id for _, doc_id in expected]
    assert [chunk["score"] for chunk in chunks] == pytest.approx([score for score, _ in expected], abs=1e-3)


@every_store
def test_of_chunks_that_are_level_the_same_come_first_however_many_are_asked_for(service: Service) -> None:
    rng = random.Random(5)
    docs = []
    for n in range(60):
        others = [
            {"text": f"other {k}", "vector": [rng.uniform(-1, 0), *(rng.gauss(0, 1) for _ in "abc")]} for k in "de"
        ]
        same = {"text": "same", "vector": [1, 0, 0, 0]}
        docs.append({**PLACE, "doc_id": f"doc-{n:02d}", "chunks": [*others, same]})
    for start in range(0, len(docs), 10):
        service.post("/v1/docs/upsert/batch", {"docs": docs[start : start + 10]})

    searching, vector = service.runtime.search.searching, unit_vector([1, 0, 0, 0], param="vector")

    def check() -> None:
        filters: dict[str, Any] = {"filters": {"doc_id": {"$ne": "doc-03"}}}
        for more in ({}, filters):
            body = {**PLACE, "vector": [1, 0, 0, 0], "include": ["text"], **more}
            every = service.post("/v1/search", {**body, "top_k": 1000})["chunks"]
            level = [chunk["doc_id"] for chunk in every if chunk["text"] == "same"]
            assert level == sorted(level) and len(level) in range(57, 61)
            for k in (1, 5, 7, 20, 49):
                chunks = service.post("/v1/search", {**body, "top_k": k})["chunks"]
                assert [chunk["doc_id"] for chunk in chunks] == level[:k]
                allowed = parse(more.get("filters"))
                question = Question(PLACE["tenant_id"], PLACE["namespace"], "", k, vector=vector, filters=allowed)
                for answer in searching.search_many([question] * 5):
                    assert isinstance(answer, Answer)
                    assert [passage.doc_id for passage in answer.passages] == level[:k]

    check()
    service.rebuild()
    check()
    service.delete("doc-00")
    service.delete("doc-20")
    check()


@every_store
def test_asking_again_for_a_rebuild_gives_the_one_that_waits(service: Service) -> None:
    service.upsert("cats", "Cats sleep.")
    first = service.post("/v1/index/rebuild", PLACE)
    assert first == service.post("/v1/index/rebuild", PLACE)
    assert service.work() == 1


@every_faiss_store
def test_no_request_writes_a_file_and_old_ones_are_swept(service: Service) -> None:
    fill(service, 5)
    service.rebuild()
    [first] = service.index_files()
    service.upsert("more", "More text.")
    service.delete("doc-00")
    service.search("text")
    assert service.index_files() == [first]
    service.rebuild()
    [second] = service.index_files()
    assert first != second


@every_faiss_store
def test_many_changes_ask_for_a_rebuild_by_themselves(service: Service) -> None:
    with service.restarted(rebuild_min_changes=10) as small:
        fill(small, 10)
        assert small.get("/v1/queue/stats")["total"] == 0
        small.upsert("one-more", "One more.")
        [job] = small.get("/v1/jobs")["data"]
        assert (job["type"], job["status"]) == ("rebuild_index", "pending")


def damage(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    match how:
        case "empty":
            content.clear()
        case "cut short":
            del content[len(content) // 2 :]
        case "noise":
            content[:] = random.Random(1).randbytes(len(content))
        case "one bit of the vectors":
            content[-100] ^= 1
        case "one bit of the header":
            content[3] ^= 1
        case "one byte more":
            content.append(0)
    file.write_bytes(content)


@pytest.mark.parametrize(
    "how",
    ["empty", "cut short", "noise", "one bit of the vectors", "one bit of the header", "one byte more"],
)
@every_faiss_store
def test_a_damaged_file_is_reported_and_rebuilt_while_searches_stay_right(service: Service, how: str) -> None:
    fill(service, 12)
    service.rebuild()
    service.upsert("later", "Something later.")
    before = service.hit_ids("winter garden", top_k=13)
    [file] = service.index_files()
    damage(file, how)
    with service.restarted() as after:
        assert after.hit_ids("winter garden", top_k=13) == before
        assert after.stats()["problem"]
        assert any(file.name in problem for problem in after.problems())
        assert after.get("/v1/queue/stats")["pending"] == 1
        after.work()
        assert after.stats()["problem"] is None
        assert after.problems() == []
        assert after.hit_ids("winter garden", top_k=13) == before


@pytest.mark.parametrize("service", [Store.SQLITE], indirect=True)
def test_a_missing_file_is_reported_and_rebuilt(service: Service) -> None:
    fill(service, 12)
    service.rebuild()
    before = service.hit_ids("winter garden", top_k=13)
    [file] = service.index_files()
    file.unlink()
    with service.restarted() as after:
        assert after.hit_ids("winter garden", top_k=13) == before
        assert "No such file" in after.stats()["problem"]
        after.work()
        assert after.stats()["problem"] is None
        assert after.problems() == []


@pytest.mark.parametrize("service", [Store.POSTGRES_FAISS], indirect=True)
def test_hosts_with_folders_of_their_own_do_not_take_each_others_files_for_lost(
    service: Service, tmp_path: Path
) -> None:
    fill(service, 12)
    with service.restarted(index_dir=tmp_path / "other-host") as other:
        for here, there in [(service, other), (other, service)]:
            here.upsert("new", f"Written by {here.settings.index_dir.name}.")
            here.rebuild()
            assert there.hit_ids("winter garden", top_k=13) == here.hit_ids("winter garden", top_k=13)
            assert there.stats()["problem"] is None
            assert there.get("/v1/queue/stats")["pending"] == 0


@pytest.mark.parametrize("service", [Store.SQLITE], indirect=True)
def test_a_file_that_came_back_is_trusted_only_after_a_rebuild(service: Service) -> None:
    fill(service, 3)
    service.rebuild()
    [file] = service.index_files()
    file.rename(file.with_suffix(".aside"))
    with service.restarted() as after:
        after.search("winter")
        file.with_suffix(".aside").rename(file)
        after.work()
        assert after.stats()["problem"] is None
        assert len(after.hit_ids("winter")) == 3
        assert after.problems() == []


def test_a_checkpoint_gives_the_tails_memory_back() -> None:
    vectors = np.zeros((1000, 8), np.float32)
    base = faiss.IndexFlatIP(8)
    base.add(vectors)
    opened = OpenPartition(8)
    opened.apply(appeared=np.arange(1000), vectors=vectors, disappeared=np.empty(0, np.int64), seq=1)
    tail = opened.nbytes
    opened.start_from(
        Checkpoint(name="a", checksum="b", covered_seq=1, ntotal=1000, dimension=8), LoadedIndex(base, np.arange(1000))
    )
    assert opened.nbytes < 1.5 * tail


@every_faiss_store
def test_a_large_checkpoint_is_a_graph_that_still_fills_top_k(service: Service) -> None:
    with service.restarted(index_exact_up_to=20) as graph:
        fill(graph, 60)
        assert graph.search("winter")["index"]["exact"] is True
        graph.rebuild()
        exact = graph.search("winter", top_k=60)
        for number in range(55):
            graph.delete(f"doc-{number:02d}")
        answer = graph.search("winter", top_k=60)
        assert answer["index"]["exact"] is False
        kept = [c["doc_id"] for c in exact["chunks"] if c["doc_id"] >= "doc-55"]
        assert [chunk["doc_id"] for chunk in answer["chunks"]] == kept
        assert graph.problems() == []
