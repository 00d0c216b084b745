"""What a worker does with an accepted batch."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.support.prose import prose
from tests.support.service import PLACE, Service


def test_nothing_of_a_batch_is_found_before_the_worker_published_it(service: Service) -> None:
    job_id = service.batch({"one": "Cats sleep.", "two": "Ships sail."}, async_mode=True)["job_id"]
    assert service.hit_ids("cats") == []
    assert service.doc("one")["status"] == "processing"
    service.work()
    job = service.job(job_id)
    assert (job["status"], job["progress"]) == ("completed", 100)
    members = ("docs", "published", "failed", "chunks_created", "chunks_embedded", "chunks_reused")
    assert [job["result"][key] for key in members] == [2, 2, 0, 2, 2, 0]
    assert service.hit_ids("cats")[0] == "one"
    assert service.doc("one")["status"] == "ready"


def test_the_previous_revision_is_found_until_the_next_is_published(service: Service) -> None:
    service.upsert("doc", "The old text.")
    service.batch({"doc": "The new text."}, async_mode=True)
    assert service.search("text")["chunks"][0]["text"] == "The old text."
    service.work()
    assert service.search("text")["chunks"][0]["text"] == "The new text."
    assert service.problems() == []


def test_of_two_revisions_the_one_accepted_later_wins_whichever_is_done_first(service: Service) -> None:
    first = service.batch({"doc": "Accepted first."}, async_mode=True)["job_id"]
    service.upsert("doc", "Accepted later.")
    service.work()
    assert [chunk["text"] for chunk in service.search("accepted")["chunks"]] == ["Accepted later."]
    assert service.job(first)["result"]["superseded"] == 1
    assert service.problems() == []


def test_a_deletion_beats_a_revision_that_was_accepted_before_it(service: Service) -> None:
    service.batch({"doc": "Cats sleep."}, async_mode=True)
    service.delete("doc")
    service.work()
    assert service.hit_ids("cats") == []
    service.doc("doc", expect=404)


def test_sending_a_waiting_batch_again_gives_the_same_job(service: Service) -> None:
    first = service.batch({"doc": "Cats sleep."}, async_mode=True)
    again = service.batch({"doc": "Cats sleep."}, async_mode=True)
    assert (again["job_id"], again["skipped_docs"]) == (first["job_id"], 1)


def test_a_cancelled_batch_leaves_what_was_found_before(service: Service) -> None:
    service.upsert("doc", "The old text.")
    job_id = service.batch({"doc": "The new text."}, async_mode=True)["job_id"]
    assert service.post(f"/v1/jobs/{job_id}/cancel", {})["status"] == "cancelled"
    service.work()
    assert service.search("text")["chunks"][0]["text"] == "The old text."
    doc = service.doc("doc")
    assert (doc["status"], doc["error"]) == ("failed", "Its job was cancelled.")
    assert service.upsert("doc", "The new text.")["upserted_docs"] == 1


def test_a_document_of_many_steps_is_published_whole(service: Service) -> None:
    text = "\n\n".join(prose(number) for number in range(500))
    service.batch({"book": text, "leaf": "A single leaf."}, async_mode=True)
    assert service.worker.run_one()
    assert len(service.chunks("book")) > 128
    assert service.problems() == []


def test_jobs_can_be_listed_by_status_and_type(service: Service) -> None:
    service.upsert("cats", "Cats sleep.")
    service.delete("cats")
    service.batch({"dogs": "Dogs bark."}, async_mode=True)
    assert {job["type"] for job in service.get("/v1/jobs")["data"]} == {"ingest_docs", "rebuild_index"}
    [only] = service.get("/v1/jobs", {"type": "ingest_docs", "status": "pending"})["data"]
    assert (only["tenant_id"], only["namespace"]) == (PLACE["tenant_id"], PLACE["namespace"])
    assert service.get("/v1/jobs", {"status": "failed"})["data"] == []
    assert service.get("/v1/queue/stats") == {
        "total": 2, "pending": 2, "running": 0, "completed": 0, "failed": 0, "cancelled": 0,
    }  # fmt: skip


def test_metadata_that_is_sent_while_a_document_is_embedded_is_kept(service: Service) -> None:
    service.batch({"doc": "Cats sleep."}, async_mode=True)
    embed = service.runtime.index.embedding.embed

    def embed_slowly(version: str, texts: Mapping[bytes, str]) -> dict[bytes, bytes]:
        docs = [{**PLACE, "doc_id": "doc", "text": "Cats sleep.", "metadata": {"v": 2}}]
        service.post("/v1/docs/upsert/batch", {"docs": docs, "async_mode": True})
        return embed(version, texts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service.runtime.ingest.ingesting.embedding, "embed", embed_slowly)
        service.work()
    assert service.search("cats")["chunks"][0]["metadata"] == {"v": 2}
    assert service.problems() == []
