"""Versions of a namespace's index beside each other: built, followed, activated, rolled back, deleted."""

from __future__ import annotations

from typing import Any

from tests.support.prose import prose
from tests.support.service import PLACE, Service, every_store

PROMPTS = {"document": "A passage about gardens: "}


def create(service: Service, name: str = "two", *, expect: int = 202, **more: Any) -> Any:
    return service.post("/v1/index/versions", {**PLACE, "name": name, "prompts": PROMPTS, **more}, expect=expect)


def built(service: Service, name: str = "two", **more: Any) -> Any:
    create(service, name, **more)
    service.work()
    return version(service, name)


def version(service: Service, name: str) -> Any:
    return service.get(f"/v1/index/versions/{name}", PLACE)


def activate(service: Service, name: str, *, expect: int = 200, **more: Any) -> Any:
    return service.post(f"/v1/index/versions/{name}/activate", {**PLACE, **more}, expect=expect)


def rollback(service: Service, *, expect: int = 200, **more: Any) -> Any:
    return service.post("/v1/index/versions/rollback", {**PLACE, **more}, expect=expect)


@every_store
def test_a_version_is_built_searched_activated_and_rolled_back(service: Service) -> None:
    service.batch({f"doc-{number}": prose(number) for number in range(6)})
    before = service.search("winter garden", top_k=6)
    two = built(service)
    assert (two["state"], two["lag"], two["vectors"]) == ("ready", 0, 6)
    beside = service.search("winter garden", top_k=6, index_version="two")
    assert beside["index"]["embedding_version"] == two["embedding_version"] != before["index"]["embedding_version"]
    assert [c["score"] for c in beside["chunks"]] != [c["score"] for c in before["chunks"]]
    assert service.search("winter garden", top_k=6)["chunks"] == before["chunks"]
    assert activate(service, "two", expected_active="initial")["state"] == "active"
    assert service.search("winter garden", top_k=6)["chunks"] == beside["chunks"]
    assert version(service, "initial")["state"] == "retired"
    service.upsert("late", "Published after the activation.")
    service.delete("doc-0")
    assert rollback(service, expected_active="two")["name"] == "initial"
    assert service.hit_ids("published after", top_k=9)[0] == "late"
    assert sorted(service.hit_ids("winter", top_k=9)) == [*(f"doc-{number}" for number in range(1, 6)), "late"]
    service.work()
    assert service.problems() == []
