"""Deleting many documents as a job: those that a filter matches, or all of a namespace."""

from __future__ import annotations

from typing import Any

import pytest

from errors import GivesWay
from job_lease import Lease
from services.ingest import deleting
from tests.support.service import PLACE, Service


def filled(service: Service, count: int = 12) -> None:
    docs = [
        {**PLACE, "doc_id": f"doc-{n:02d}", "text": f"Cats number {n}.", "metadata": {"n": n}} for n in range(count)
    ]
    service.post("/v1/docs/upsert/batch", {"docs": docs})


def ask(service: Service, **what: Any) -> str:
    job_id: str = service.post("/v1/docs/delete", {**PLACE, **what}, expect=202)["job_id"]
    return job_id


def left(service: Service) -> list[str]:
    listed = [doc["doc_id"] for doc in service.get("/v1/docs", PLACE)["data"]]
    assert sorted(service.hit_ids("cats", top_k=50)) == listed
    return listed


def test_what_a_filter_matches_is_deleted_and_the_rest_stays(service: Service) -> None:
    filled(service)
    job_id = ask(service, filters={"n": {"$gte": 3}, "doc_id": {"$ne": "doc-07"}})
    service.work()
    job = service.job(job_id)
    assert (job["type"], job["outcome"], job["progress"]) == ("delete_docs", "completed", 100)
    assert {name: job["result"][name] for name in ("docs_deleted", "chunks_deleted", "docs_examined")} == {
        "docs_deleted": 8, "chunks_deleted": 8, "docs_examined": 12,
    }  # fmt: skip
    assert left(service) == ["doc-00", "doc-01", "doc-02", "doc-07"]
    assert service.problems() == []


@pytest.mark.parametrize(
    ("what", "param"),
    [
        ({}, "filters"),
        ({"filters": {}}, "filters"),
        ({"filters": {"$and": []}}, "filters"),
        ({"filters": {"page": 3}}, "filters"),
        ({"filters": {"n": {"$like": 3}}}, "filters"),
        ({"filters": {"n": 1}, "whole_namespace": PLACE["namespace"]}, "filters"),
        ({"whole_namespace": "another"}, "whole_namespace"),
    ],
)
def test_nothing_is_deleted_by_mistake(shared_service: Service, what: dict[str, Any], param: str) -> None:
    shared_service.upsert("doc", "Cats sleep.")
    problem = shared_service.post("/v1/docs/delete", {**PLACE, **what}, expect=422)
    assert problem["error"]["param"].startswith(param)
    assert shared_service.get("/v1/jobs", {"type": "delete_docs"})["data"] == []


def test_of_a_whole_namespace_what_was_accepted_before_goes_and_what_is_accepted_later_stays(service: Service) -> None:
    filled(service, 4)
    service.batch({"waiting": "Cats wait.", "doc-03": "Cats wait too."}, async_mode=True)
    service.client.post(
        "/v1/docs/upload", data={**PLACE, "doc_id": "f"}, files=[("file", ("c.txt", b"Cats in files."))]
    )
    job_id = ask(service, whole_namespace=PLACE["namespace"])
    service.upsert("doc-00", "Cats that came later.")
    described = {**PLACE, "doc_id": "doc-01", "text": "Cats number 1.", "metadata": {"n": 100}}
    service.post("/v1/docs/upsert", described)
    service.batch({"doc-02": "Cats that come later still.", "new": "New cats."}, async_mode=True)
    service.work()
    assert left(service) == ["doc-00", "doc-01", "doc-02", "new"]
    assert service.job(job_id)["outcome"] == "completed"
    assert service.stats()["live_docs"] == 4
    assert service.problems() == []


def test_what_waits_when_a_step_reaches_it_goes_with_its_document_if_it_matches(service: Service) -> None:
    docs = [{**PLACE, "doc_id": name, "text": f"Cats of {name}.", "metadata": {"old": True}} for name in "abc"]
    service.post("/v1/docs/upsert/batch", {"docs": docs})
    newer = [
        {**PLACE, "doc_id": name, "text": f"New cats of {name}.", "metadata": {"old": old}}
        for name, old in (("a", True), ("b", False))
    ]
    service.post("/v1/docs/upsert/batch", {"docs": newer, "async_mode": True})
    ask(service, filters={"old": True})
    runtime = service.runtime
    ingest, removal = runtime.queue.claim("other"), runtime.queue.claim("test")
    assert ingest is not None and removal is not None
    result = runtime.ingest.deleting.delete(Lease(runtime.queue, removal, service.worker.must_give_back))
    assert (result["docs_deleted"], service.hit_ids("cats")) == (3, [])
    runtime.queue.give_back(ingest)
    service.work()
    assert left(service) == ["b"]
    assert service.problems() == []


def test_a_deletion_goes_in_steps_each_seen_at_once_and_lets_other_tenants_go_first(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleting, "DOCS_PER_READ", 3)
    monkeypatch.setattr(deleting, "CHUNKS_PER_STEP", 2)
    filled(service, 7)
    job_id, seen = ask(service, whole_namespace=PLACE["namespace"]), []
    give_way = Lease.give_way

    def interrupted(lease: Lease) -> None:
        seen.append((len(left(service)), service.job(job_id)["progress"]))
        give_way(lease)
        if len(seen) == 2:
            raise GivesWay("Another's turn.")

    monkeypatch.setattr(Lease, "give_way", interrupted)
    assert service.worker.run_one()
    assert (service.job(job_id)["status"], service.job(job_id)["result"]["docs_deleted"]) == ("pending", 3)
    service.work()
    assert [count for count, _ in seen[:5]] == [5, 4, 2, 1, 0]
    assert [progress for _, progress in seen[:5]] == sorted(progress for _, progress in seen[:5])
    assert (service.job(job_id)["result"]["docs_deleted"], service.job(job_id)["progress"]) == (7, 100)
    assert left(service) == []
