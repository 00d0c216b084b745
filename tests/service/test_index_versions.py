"""Versions of a namespace's index beside each other: built, followed, activated, rolled back, deleted."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from domain import BuildResult
from engines.embedders.base import Embedder
from models import Chunk, Embedding, IndexRow
from services.index.pacing import FIRST_TEXTS
from tests.service.test_reembedding import other_model
from tests.support.embedding_server import embedding_server
from tests.support.plans import executed
from tests.support.processes import until, worker_process
from tests.support.prose import prose
from tests.support.service import PLACE, Service, end_leases, every_store, open_service, settings_in, vectors_of

__all__ = ["other_model"]

PROMPTS = {"document": "A passage about gardens: "}
VERSIONS = "/v1/index/versions"


def create(service: Service, name: str = "two", *, expect: int = 202, **more: Any) -> Any:
    return service.post(VERSIONS, {**PLACE, "name": name, "prompts": PROMPTS, **more}, expect=expect)


def built(service: Service, name: str = "two", **more: Any) -> Any:
    create(service, name, **more)
    service.work()
    return version(service, name)


def version(service: Service, name: str = "two", *, expect: int = 200) -> Any:
    return service.get(f"{VERSIONS}/{name}", PLACE, expect=expect)


def states(service: Service) -> dict[str, str]:
    return {each["name"]: each["state"] for each in service.get(VERSIONS, PLACE)["versions"]}


def activate(service: Service, name: str = "two", *, expect: int = 200, **more: Any) -> Any:
    return service.post(f"{VERSIONS}/{name}/activate", {**PLACE, **more}, expect=expect)


def rollback(service: Service, *, expect: int = 200, **more: Any) -> Any:
    return service.post(f"{VERSIONS}/rollback", {**PLACE, **more}, expect=expect)


def delete(service: Service, name: str = "two", *, expect: int = 200) -> Any:
    answer = service.client.delete(f"{VERSIONS}/{name}", params=PLACE)
    assert answer.status_code == expect, answer.text
    return answer.json()


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
    by_embedding = service.search("winter garden", top_k=6, embedding_version=two["embedding_version"])
    assert by_embedding["chunks"] == beside["chunks"]
    assert activate(service, expected_active="initial")["state"] == "active"
    assert service.search("winter garden", top_k=6)["chunks"] == beside["chunks"]
    assert states(service) == {"initial": "retired", "two": "active"}
    service.upsert("late", "Published after the activation.")
    service.delete("doc-0")
    assert rollback(service, expected_active="two")["name"] == "initial"
    assert service.hit_ids("published after", top_k=9)[0] == "late"
    assert sorted(service.hit_ids("winter", top_k=9)) == [*(f"doc-{number}" for number in range(1, 6)), "late"]
    assert service.search("winter garden", embedding_version=before["index"]["embedding_version"], top_k=1)["chunks"]
    service.work()
    assert service.problems() == []
    assert rollback(service)["name"] == "two"
    audited = [row["action"] for row in reversed(service.get("/v1/audit", {"tenant_id": "acme"})["data"])]
    verbs = ["created", "activated", "rolled_back_to", "rolled_back_to"]
    assert [each for each in audited if each.startswith("index_version")] == [f"index_version.{verb}" for verb in verbs]
    served = service.get("/v1/events", {"types": "version.activated,version.rolled_back"})["data"]
    assert [(each["type"], each["data"]["name"], each["data"]["before"]) for each in served] == [
        ("version.activated", "two", "initial"),
        ("version.rolled_back", "initial", "two"),
        ("version.rolled_back", "two", "initial"),
    ]


@every_store
def test_what_is_written_while_a_version_is_built_reaches_it_and_later_writes_too(service: Service) -> None:
    service.batch({"one": "Cats sleep.", "two": "Dogs bark.", "gone": "Fish swim."})
    create(service)
    build = service.runtime.index.indexing.vectors.build

    def build_while_others_write(*args: Any, **kwargs: Any) -> BuildResult | None:
        result = build(*args, **kwargs)
        service.upsert("between", "Owls hoot.")
        service.delete("gone")
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service.runtime.index.indexing.vectors, "build", build_while_others_write)
        assert service.worker.run_one()
    assert version(service)["state"] == "ready"
    for name in ("initial", "two"):
        assert sorted(service.hit_ids("animals", index_version=name)) == ["between", "one", "two"]
    service.batch({"later": "Bees hum.", "one": "Cats sleep on."}, async_mode=True)
    service.work()
    for name in ("initial", "two"):
        chunks = service.search("animals", top_k=9, index_version=name)["chunks"]
        assert sorted(chunk["doc_id"] for chunk in chunks) == ["between", "later", "one", "two"]
    assert service.problems() == []


def test_a_version_is_refused_where_it_cannot_be_and_every_refusal_says_why(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    job_id = create(service)["job_id"]
    assert (version(service)["state"], version(service)["lag"] > 0) == ("building", True)
    assert "'two' already, and it is building" in create(service, expect=409)["detail"]
    assert f"is building and lags by 1 publications: see its job {job_id}" in activate(service, expect=409)["detail"]
    assert "is not complete" in service.search("cats", index_version="two", expect=409)["detail"]
    assert "no version 'three'; it has 'initial', 'two'" in activate(service, "three", expect=404)["detail"]
    assert "no version 'three'" in service.search("cats", index_version="three", expect=404)["detail"]
    assert "nothing to roll back to" in rollback(service, expect=409)["detail"]
    assert "'two' is this already" in create(service, "three", expect=409)["detail"]
    unknown = create(service, "three", chunking={"chunk_strategy": "odd"}, expect=422)
    assert "no strategy 'odd'" in unknown["detail"]
    assert create(service, "three", chunking={"chunk_tokens": 3}, expect=422)
    assert "letters of ASCII" in create(service, "a/b", expect=422)["detail"]
    assert "needs gates" in create(service, "three", activate="if_passes", expect=422)["detail"]
    service.work()
    refusal = activate(service, expected_active="two", expect=409)["detail"]
    assert "The active version is 'initial', not 'two'" in refusal
    moved = service.client.post(f"{VERSIONS}/two/activate", json=PLACE, headers={"If-Match": '"other"'})
    assert (moved.status_code, moved.json()["error"]["param"]) == (409, "expected_active")
    reembedding = {**PLACE, "reembed": True, "new_embedding_version": "v9"}
    assert "has index versions" in service.post("/v1/index/rebuild", reembedding, expect=409)["detail"]
    assert "'initial' is the active one" in delete(service, "initial", expect=409)["detail"]


def test_vectors_from_outside_have_no_second_version(service: Service) -> None:
    chunk = {"text": "Cats.", "vector": [1, 0]}
    service.post("/v1/docs/upsert", {**PLACE, "doc_id": "doc", "chunks": [chunk]})
    assert "no model of this service could compute" in create(service, expect=409)["detail"]
    chunking = {"chunk_tokens": 64}
    assert "no model of this service could compute" in create(service, expect=409, chunking=chunking)["detail"]
    place = {**PLACE, "namespace": "of-a-model"}
    service.post("/v1/docs/upsert", {**place, "doc_id": "gone", "text": "Cats."})
    service.post(VERSIONS, {**place, "name": "two", "prompts": PROMPTS}, expect=202)
    service.work()
    assert service.post("/v1/docs/upsert", {**place, "doc_id": "doc", "chunks": [chunk]}, expect=422)


@every_store
def test_a_version_activates_itself_when_it_is_ready_and_another_is_deleted(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    assert built(service, activate="when_ready")["state"] == "active"
    assert states(service) == {"initial": "retired", "two": "active"}
    before = changes(service)
    service.upsert("doc", "Cats sleep on.")
    assert changes(service) == [count + 2 for count in before]
    assert service.rebuild()["status"] == "completed"
    assert changes(service) == [0, 0]
    assert len(service.index_files()) == (2 if service.keeps_files else 0)
    assert delete(service, "initial") == {"deleted": True, "name": "initial"}
    assert states(service) == {"two": "active"}
    assert len(service.index_files()) == (1 if service.keeps_files else 0)
    service.upsert("more", "Dogs bark.")
    assert service.hit_ids("dogs", top_k=1) == ["more"]
    assert service.problems() == []
    moved = service.rebuild(reembed=True, new_embedding_version="v9")
    assert (moved["status"], states(service)) == ("completed", {"two": "active"})


def changes(service: Service) -> list[int]:
    """Of each partition, since its last rebuild."""
    with service.runtime.database.read() as session:
        return list(session.scalars(select(IndexRow.changes).order_by(IndexRow.embedding_version)))


@every_store
def test_deleting_a_whole_namespace_empties_all_its_versions(service: Service) -> None:
    service.batch({"one": "Cats sleep.", "two": "Dogs bark."})
    built(service)
    body = {**PLACE, "whole_namespace": PLACE["namespace"]}
    service.post("/v1/docs/delete", body, expect=202)
    service.work()
    for name in ("initial", "two"):
        assert service.search("animals", index_version=name)["chunks"] == []
    assert version(service)["vectors"] == 0
    assert service.problems() == []


@every_store
def test_an_erasure_reaches_every_version_and_a_namespace_goes_with_all_of_them(service: Service) -> None:
    service.batch({f"doc-{number}": prose(number) for number in range(6)})
    built(service)
    service.rebuild()
    files = {path.name for path in service.index_files()}
    assert len(files) == (2 if service.keeps_files else 0)
    of_doc = select(Chunk.embed_hash).where(Chunk.doc_id == "doc-3").scalar_subquery()
    with service.runtime.database.read() as session:
        erased = session.scalars(select(Embedding.vector).where(Embedding.embed_hash == of_doc)).all()
    assert len(erased) == 2
    service.post("/v1/erasures", {**PLACE, "doc_ids": ["doc-3"]}, expect=202)
    service.work()
    with service.runtime.database.read() as session:
        assert not session.scalars(select(Embedding.embed_hash).where(Embedding.vector.in_(erased))).all()
    assert not files & {path.name for path in service.index_files()}
    for more in ({}, {"index_version": "two"}):
        hits = service.hit_ids("winter garden", top_k=9, **more)
        assert sorted(hits) == ["doc-0", "doc-1", "doc-2", "doc-4", "doc-5"]
    assert service.problems() == []
    confirmed = {"confirm_namespace": PLACE["namespace"]}
    path = f"/v1/teams/{PLACE['tenant_id']}/projects/{PLACE['namespace']}"
    assert service.client.request("DELETE", path, json=confirmed).status_code == 202
    service.work()
    service.runtime.queue.prune(0)
    assert service.runtime.erasure.erasing.drop_shells() == 1
    assert service.index_files() == []


def test_a_version_that_cannot_follow_lags_and_catches_up_while_writes_go_on(
    database_url: str, tmp_path: Path, bundled_model: Embedder
) -> None:
    with embedding_server(bundled_model) as server:
        settings = settings_in(tmp_path, database_url=database_url, **vectors_of(server))
        with open_service(settings) as service:
            service.upsert("one", "Cats sleep.")
            assert built(service)["state"] == "ready"
            server.refused = PROMPTS["document"]
            service.upsert("two", "Dogs bark.")
            lagging = version(service)
            assert (lagging["state"], lagging["lag"]) == ("building", 1)
            assert "this text is refused" in lagging["problem"]
            assert "lags by 1 publications (" in activate(service, expect=409)["detail"]
            service.batch({"three": "Owls hoot."}, async_mode=True)
            service.work()
            assert sorted(service.hit_ids("animals")) == ["one", "three", "two"]
            assert states(service) == {"initial": "active", "two": "failed"}
            server.refused = None
            assert built(service)["state"] == "ready"
            server.refused = PROMPTS["document"]
            service.batch({"four": "Bees hum."}, async_mode=True)
            server.refused = None if service.worker.run_one() else "a job ran"
            assert version(service)["state"] == "building"
            service.work()
            assert (version(service)["state"], version(service)["problem"]) == ("ready", None)
            chunks = service.search("animals", index_version="two")["chunks"]
            assert sorted(chunk["doc_id"] for chunk in chunks) == ["four", "one", "three", "two"]
            assert service.problems() == []


def test_a_worker_killed_in_mid_build_is_followed_by_one_that_goes_on_behind_its_last_step(
    database_url: str, tmp_path: Path, bundled_model: Embedder
) -> None:
    with embedding_server(bundled_model) as server:
        settings = settings_in(tmp_path, database_url=database_url, **vectors_of(server))
        with open_service(settings) as service:
            service.batch({f"doc-{number}": f"Number {number} sleeps." for number in range(3 * FIRST_TEXTS)})
            job_id, before = create(service)["job_id"], len(server.texts)
            with worker_process(settings) as worker:
                until(partial(lambda: service.job(job_id)["progress"] > 0), pause=0.005)
                worker.kill()
            end_leases(service.runtime.database)
            assert service.job(job_id)["result"]["chunks_embedded"] >= FIRST_TEXTS
            service.work()
            job = service.job(job_id)
            assert (job["status"], version(service)["state"]) == ("completed", "ready")
            kept = job["result"]["chunks_embedded"]
            assert kept == 3 * FIRST_TEXTS == len(set(server.texts[before:]))
            assert len(server.texts) - before <= kept + 4 * FIRST_TEXTS  # the step that the kill cut short
            assert service.problems() == []


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)
def test_one_version_costs_no_query_and_a_second_one_no_walk(service: Service) -> None:
    service.batch({f"doc-{number}": f"Number {number} sleeps." for number in range(4)})
    service.search("sleeps")
    with executed() as alone:
        service.upsert("doc-0", "Number 0 wakes.")
        service.search("sleeps", mode="hybrid")
        service.delete("doc-1")
    assert not [each for each in alone.texts if "index_versions" in each]
    two = built(service)["embedding_version"]
    service.search("sleeps", index_version="two")
    with executed() as beside:
        service.upsert("doc-2", "Number 2 wakes.")
        service.batch({"doc-3": "Number 3 wakes."}, async_mode=True)
        service.work()
        service.search("sleeps", mode="hybrid")
        service.search("sleeps", mode="hybrid", index_version="two")
        service.search("sleeps", embedding_version=two)
        service.delete("doc-0")
    assert not (walks := beside.walks()), walks


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)
def test_a_version_whose_model_is_gone_is_not_activated(service: Service, other_model: str) -> None:
    service.upsert("doc", "Cats sleep.")
    with service.restarted(embed_model_name=other_model, embedding_version="cls") as other:
        other.post(VERSIONS, {**PLACE, "name": "two", "embedding_version": "cls"}, expect=202)
        other.work()
    assert version(service)["state"] == "ready"
    shutil.rmtree(other_model)
    with service.restarted() as fresh:
        assert activate(fresh, expect=409)["error"]["code"] == "embedding_version_unavailable"
        assert fresh.upsert("more", "Dogs bark.")["upserted_docs"] == 1
        assert sorted(fresh.hit_ids("animals")) == ["doc", "more"]
        assert states(fresh) == {"initial": "active", "two": "building"}
