"""Failures are a list and a verb: how a job ended, which failed, and trying again without sending again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from errors import EmbeddingRefused, Unreadable
from models import Chunk
from tests.support.service import PLACE, Service

OTHER = {**PLACE, "namespace": "elsewhere"}


@contextmanager
def refusing(service: Service, word: str) -> Iterator[None]:
    """While the model refuses every text with that word."""
    ingesting = service.runtime.ingest.ingesting
    embed = ingesting.embedding.embed

    def refuse(version: str, texts: Mapping[bytes, str]) -> dict[bytes, bytes]:
        if any(word in text for text in texts.values()):
            raise EmbeddingRefused(f"The model does not like {word}.")
        return embed(version, texts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingesting.embedding, "embed", refuse)
        yield


def failed_batch(service: Service, docs: dict[str, str], word: str) -> Any:
    with refusing(service, word):
        job_id = service.batch(docs, async_mode=True)["job_id"]
        service.work()
    return service.job(job_id)


def listed(service: Service, status: str) -> list[str]:
    return [job["job_id"] for job in service.get("/v1/jobs", {"status": status})["data"]]


def waiting_chunks(service: Service) -> int:
    with service.runtime.database.read() as session:
        return session.scalars(select(func.count()).select_from(Chunk).where(Chunk.live_seq.is_(None))).one()


def test_a_job_says_whether_some_or_all_of_its_documents_failed(service: Service) -> None:
    some = failed_batch(service, {"bad": "Ugly cats.", "good": "Ships sail."}, "Ugly")
    every = failed_batch(service, {"worse": "Ugly dogs.", "worst": "Ugly birds."}, "Ugly")
    [none] = [service.job(service.batch({"fine": "Rain falls."}, async_mode=True)["job_id"])]
    assert (none["outcome"], none["failed_documents"]) == (None, 0)
    service.work()
    assert (some["status"], some["outcome"], some["failed_documents"]) == ("completed", "completed_with_errors", 1)
    assert (every["status"], every["outcome"], every["failed_documents"]) == ("failed", "failed", 2)
    assert "None of its documents could be published: 2 failed. The first, 'worse'" in every["error"]
    assert len(every["result"]["errors"]) == 2
    assert (listed(service, "failed"), listed(service, "completed_with_errors")) == (
        [every["job_id"]],
        [some["job_id"]],
    )
    assert set(listed(service, "completed")) == {some["job_id"], none["job_id"]}
    assert "completed_with_errors" in str(service.get("/v1/jobs", {"status": "completed_with_error"}, expect=422))


def test_a_retry_publishes_what_failed_and_nothing_is_sent_or_embedded_again(service: Service) -> None:
    chunks = [{"text": "Ugly cats.", "vector": None, "metadata": {"part": 1}}, {"text": "Handsome cats."}]
    body = [{**PLACE, "doc_id": "bad", "chunks": chunks}, {**OTHER, "doc_id": "bad", "text": "Ugly dogs."}]
    body += [{**PLACE, "doc_id": "good", "text": "Ships sail."}]
    with refusing(service, "Ugly"):
        job_id = service.post("/v1/docs/upsert/batch", {"docs": body, "async_mode": True})["job_id"]
        service.post(f"/v1/jobs/{job_id}/retry", {}, expect=409)
        service.work()
    retried = service.post(f"/v1/jobs/{job_id}/retry", {})
    assert (retried["type"], retried["status"]) == ("ingest_docs", "pending")
    assert (service.job(job_id)["retried_as"], service.job(job_id)["failed_documents"]) == (retried["job_id"], 2)
    assert retried["job_id"] in service.post(f"/v1/jobs/{job_id}/retry", {}, expect=409)["detail"]
    assert service.doc("bad")["status"] == "processing"
    service.work()
    job = service.job(retried["job_id"])
    assert (job["outcome"], job["result"]["docs"], job["result"]["published"]) == ("completed", 2, 2)
    assert (service.doc("bad")["status"], service.doc("bad")["error"]) == ("ready", None)
    [first, _] = service.chunks("bad")
    assert (first["text"], first["metadata"]) == ("Ugly cats.", {"part": 1})
    assert service.hit_ids("cats", top_k=1) == ["bad"]
    assert service.post("/v1/search", {**OTHER, "query": "dogs"})["chunks"][0]["doc_id"] == "bad"
    assert service.problems() == []


def test_a_file_that_could_not_be_read_is_extracted_again(service: Service) -> None:
    def unreadable(*_: Any, **__: Any) -> Any:
        raise Unreadable("The reader is broken today.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(service.runtime.ingest.extractor), "extract", unreadable)
        files = [("file", ("cats.txt", b"Cats sleep all day."))]
        answer = service.client.post("/v1/docs/upload", data={**PLACE, "doc_id": "file"}, files=files).json()
        service.work()
    assert service.job(answer["job_id"])["outcome"] == "failed"
    started = service.client.post("/v1/docs/file/retry", params=PLACE)
    assert (started.status_code, started.headers["location"]) == (200, f"/v1/jobs/{started.json()['job_id']}")
    assert service.doc("file")["status"] == "uploaded"
    service.work()
    assert service.job(started.json()["job_id"])["outcome"] == "completed"
    assert service.hit_ids("cats") == ["file"]
    refused = service.client.post("/v1/docs/file/retry", params=PLACE)
    assert (refused.status_code, "has not failed" in refused.json()["detail"]) == (409, True)
    assert service.client.post("/v1/docs/nothing/retry", params=PLACE).status_code == 404


def test_a_cancelled_batch_can_be_retried(service: Service) -> None:
    job_id = service.batch({"doc": "Cats sleep."}, async_mode=True)["job_id"]
    service.post(f"/v1/jobs/{job_id}/cancel", {})
    assert service.job(job_id)["outcome"] == "cancelled"
    service.post(f"/v1/jobs/{job_id}/retry", {})
    service.work()
    assert service.hit_ids("cats") == ["doc"]


def test_what_was_deleted_or_sent_again_is_not_retried_and_its_chunks_are_gone(service: Service) -> None:
    job = failed_batch(service, {"one": "Ugly cats.", "two": "Ugly dogs."}, "Ugly")
    assert waiting_chunks(service) == 2
    service.upsert("one", "Ships sail.")
    service.delete("two")
    assert waiting_chunks(service) == 0
    assert "Nothing of job" in service.post(f"/v1/jobs/{job['job_id']}/retry", {}, expect=409)["detail"]
    assert service.get("/v1/queue/stats")["pending"] <= 1, "no job is left of a retry that was refused"
    assert service.problems() == []


def test_a_document_whose_chunks_an_older_release_dropped_says_that_it_has_to_be_sent_again(service: Service) -> None:
    failed_batch(service, {"doc": "Ugly cats."}, "Ugly")
    with service.runtime.database.write() as session:
        session.execute(delete(Chunk))
    answer = service.client.post("/v1/docs/doc/retry", params=PLACE)
    assert (answer.status_code, "send it again" in answer.json()["detail"]) == (409, True)


def test_all_failed_jobs_are_retried_at_once_each_one_time(service: Service) -> None:
    some = failed_batch(service, {"bad": "Ugly cats.", "good": "Ships sail."}, "Ugly")
    every = failed_batch(service, {"worse": "Ugly dogs."}, "Ugly")
    retrying = service.runtime.ingest.retrying
    assert dict(retrying.retry_all(type="rebuild_index")) == {}
    assert dict(retrying.retry_all()).keys() == {some["job_id"], every["job_id"]}
    assert dict(retrying.retry_all()) == {}
    service.work()
    assert {service.doc(doc_id)["status"] for doc_id in ("bad", "good", "worse")} == {"ready"}
