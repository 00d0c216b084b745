"""Questions that are answered together do not disturb each other."""

from __future__ import annotations

from typing import Any

import pytest

from errors import VersionMismatch
from services.search.question import Answer, Question
from tests.support.service import PLACE, Service


def question(**changed: Any) -> Question:
    return Question(**{**PLACE, "query": "cats", "top_k": 1, **changed})


def test_a_question_for_another_version_is_refused_alone(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    good, bad, also_good = service.runtime.search.searching.search_many(
        [question(), question(embedding_version="v9"), question(top_k=3)]
    )
    assert isinstance(bad, VersionMismatch)
    for answer in (good, also_good):
        assert isinstance(answer, Answer)
        assert [passage.doc_id for passage in answer.passages] == ["doc"]


def test_what_breaks_in_one_namespace_is_not_another_tenants_trouble(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    service.post("/v1/docs/upsert", {**PLACE, "tenant_id": "other", "doc_id": "doc", "text": "Cats run."})
    opened = service.runtime.search.searching.vectors.open_partition

    def break_for_acme(key: Any, dimension: int) -> Any:
        if key.team_id == 1:
            raise RuntimeError("broken")
        return opened(key, dimension)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service.runtime.search.searching.vectors, "open_partition", break_for_acme)
        broken, fine = service.runtime.search.searching.search_many([question(), question(tenant_id="other")])
    assert isinstance(broken, RuntimeError)
    assert isinstance(fine, Answer) and len(fine.passages) == 1


def test_fewer_chunks_than_asked_for_are_all_of_them(service: Service) -> None:
    service.batch({"one": "Cats sleep.", "two": "Dogs bark."})
    assert len(service.hit_ids("animals", top_k=1000)) == 2


def test_explain_tells_how_long_each_step_took(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    assert service.search("cats")["timings"] is None
    assert set(service.search("cats", explain=True)["timings"]) == {
        *("embed_ms", "catch_up_ms", "index_ms", "keywords_ms", "fetch_ms")
    }


def test_what_another_process_commits_is_in_the_next_search_whatever_this_one_remembers(service: Service) -> None:
    """A namespace's last snapshot is only what questions are prepared by."""
    service.search("cats")
    with service.restarted() as other:
        vector = [0.6, 0.8]
        chunk = {"text": "one", "vector": vector}
        for number in range(3):
            doc = {**PLACE, "doc_id": f"doc-{number}", "chunks": [chunk]}
            other.post("/v1/docs/upsert", doc)
            answer = service.post("/v1/search", {**PLACE, "vector": vector})
            assert [each["doc_id"] for each in answer["chunks"]] == [f"doc-{each}" for each in range(number + 1)]
        old = answer["index"]["embedding_version"]
        assert other.rebuild(reembed=True, new_embedding_version=service.settings.version)["status"] == "completed"
        service.post("/v1/search", {**PLACE, "query": "one", "embedding_version": old}, expect=409)
        new = service.settings.version
        assert len(service.search("one", embedding_version=new)["chunks"]) == 3
        for number in range(3):
            other.delete(f"doc-{number}")
            assert len(service.search("one")["chunks"]) == 2 - number


def test_more_namespaces_than_are_remembered_are_searched_alike(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.search.searching.MAX_SNAPSHOTS", 2)
    for namespace in ("a", "b", "c"):
        service.post("/v1/docs/upsert", {**PLACE, "namespace": namespace, "doc_id": namespace, "text": "Cats sleep."})
    for namespace in ("a", "b", "c", "a", "b"):
        assert service.hit_ids("cats", namespace=namespace) == [namespace]
