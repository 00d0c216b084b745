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
    steps = {"embed_ms", "catch_up_ms", "index_ms", "keywords_ms", "fetch_ms"}
    assert set(service.search("cats", explain=True)["timings"]) == steps
