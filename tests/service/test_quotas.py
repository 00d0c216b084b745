"""Quotas of what a team stores, and of what it has embedded a day."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from models import utc_now
from services.ingest.drafts import NewDoc, OwnChunk
from services.ingest.own_chunks import unit_vector
from tests.support.plans import executed
from tests.support.service import PLACE, Service, open_service, settings_in

USED = "/v1/usage/quota"
WRITERS, BATCHES, PER_BATCH, ALLOWED = 8, 4, 3, 40


@pytest.fixture
def limited(database_url: str, tmp_path: Path) -> Iterator[Service]:
    """Four documents, and what a few sentences need of the rest."""
    quotas = {"quota_documents": 4, "quota_bytes": 400, "quota_embedded_chunks_per_day": 8}
    with open_service(settings_in(tmp_path, database_url=database_url, **quotas)) as service:
        yield service


def set_quotas(service: Service, **quotas: int | None) -> Any:
    answer = service.client.patch(f"/v1/teams/{PLACE['tenant_id']}", json={"quotas": quotas})
    assert answer.status_code == 200, answer.text
    return answer.json()["quotas"]


def used(service: Service) -> dict[str, int]:
    answer = service.get(USED, {"tenant_id": PLACE["tenant_id"]})
    return {name: each["used"] for name, each in answer.items() if isinstance(each, dict)}


def own(number: int, namespace: str = "") -> NewDoc:
    chunk = OwnChunk(f"own {number}", vector=unit_vector([1.0, float(number)], param=""))
    return NewDoc(PLACE["tenant_id"], namespace or PLACE["namespace"], f"own-{number}", "", {}, chunks=(chunk,))


def test_what_exceeds_a_quota_is_refused_and_deleting_makes_room(limited: Service) -> None:
    for number in range(4):
        limited.upsert(f"doc-{number}", f"Stone number {number}.")
    refusal = limited.upsert("doc-4", "One too many.", expect=413)
    assert refusal["error"]["code"] == "quota_exceeded"
    assert "is 4 documents (QUOTA_DOCUMENTS): 4 are used" in refusal["detail"]
    assert limited.upsert("doc-0", "Stone number nought.")["upserted_docs"] == 1
    limited.upsert("doc-0", "ä" * 200, expect=413)
    limited.delete("doc-1")
    limited.upsert("doc-4", "Now there is room.")
    size = len("Stone number nought." + 2 * "Stone number 2." + "Now there is room.")
    assert used(limited) == {"documents": 4, "chunks": 4, "bytes": size, "embedded_chunks_per_day": 6}
    assert limited.problems() == []


def test_the_embedded_chunks_of_a_day_are_a_quota(limited: Service) -> None:
    for number in range(8):
        limited.upsert("changing", f"Text {number}.")
    body = {**PLACE, "doc_id": "changing", "text": "Text 8."}
    answer = limited.client.post("/v1/docs/upsert", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "daily_quota_exceeded")
    assert answer.headers["RateLimit-Limit"] == "8"
    assert answer.headers["RateLimit-Remaining"] == "0"
    seconds = int(answer.headers["Retry-After"])
    assert 0 < seconds <= 86_400
    assert "8 are used today" in answer.json()["detail"]
    assert limited.upsert("changing", "Text 3.")["chunks_reused"] == 1
    batch = {"docs": [body], "async_mode": True}
    assert limited.client.post("/v1/docs/upsert/batch", json=batch).status_code == 429
    resets_at = limited.get(USED, {"tenant_id": PLACE["tenant_id"]})["resets_at"]
    assert resets_at[:10] > utc_now().date().isoformat()


def test_a_team_has_quotas_of_its_own_in_place_of_the_defaults(limited: Service) -> None:
    limited.upsert("doc-0", "Stone.")
    assert set_quotas(limited, documents=1)["documents"] == 1
    limited.upsert("doc-1", "Another.", expect=413)
    limited.runtime.ingest.documents.upsert([NewDoc("other", "n", "doc-1", "Another tenant.", {})])
    assert set_quotas(limited, chunks=50) == {
        "documents": 1,
        "chunks": 50,
        "bytes": None,
        "embedded_chunks_per_day": None,
    }
    set_quotas(limited, documents=0)
    for number in range(5):
        limited.upsert(f"doc-{number}", "Stone.")
    set_quotas(limited, documents=None)
    refusal = limited.upsert("doc-5", "Stone.", expect=413)
    assert "4 documents" in refusal["detail"]
    assert "5 are used" in refusal["detail"]


def test_a_worker_keeps_the_quota_and_a_failed_document_names_it(limited: Service) -> None:
    limited.batch({f"doc-{number}": f"Stone {number}." for number in range(3)}, async_mode=True)
    second = limited.batch({f"more-{number}": f"Pebble {number}." for number in range(3)}, async_mode=True)
    limited.work()
    job = limited.job(second["job_id"])
    assert (job["result"]["published"], job["result"]["failed"]) == (1, 2)
    assert "QUOTA_DOCUMENTS" in limited.doc("more-2")["error"]
    batch = {"docs": [{**PLACE, "doc_id": "fifth", "text": "Known already."}], "async_mode": True}
    assert limited.client.post("/v1/docs/upsert/batch", json=batch).status_code == 413
    for number in range(3):
        limited.delete(f"doc-{number}")
    limited.client.post("/v1/docs/more-2/retry", params=PLACE)
    limited.work()
    assert limited.doc("more-2")["status"] == "ready"
    assert used(limited)["documents"] == 2


def test_raw_files_count_with_their_texts(limited: Service) -> None:
    content = b"A file of stone.\n"
    limited.client.post("/v1/docs/upload", data=PLACE, files={"file": ("stone.txt", content)})
    limited.work()
    assert used(limited)["bytes"] == 2 * len(content)
    large = limited.client.post("/v1/docs/upload", data=PLACE, files={"file": ("large.txt", b"x" * 500)})
    assert (large.status_code, large.json()["error"]["code"]) == (413, "quota_exceeded")


def test_eight_concurrent_writers_keep_the_quota_to_within_one_batch(service: Service) -> None:
    """In namespaces of their own, so that only the team's row orders them."""
    documents = service.runtime.ingest.documents
    documents.upsert([own(0)])
    set_quotas(service, documents=ALLOWED)

    def write(writer: int) -> int:
        refused = 0
        for batch in range(BATCHES):
            first = 1 + (writer * BATCHES + batch) * PER_BATCH
            try:
                documents.upsert([own(first + number, f"of-{writer}") for number in range(PER_BATCH)])
            except Exception as error:
                assert "QUOTA_DOCUMENTS" in str(error), error
                refused += 1
        return refused

    with ThreadPoolExecutor(WRITERS) as threads:
        refused = sum(threads.map(write, range(WRITERS)))
    assert refused == WRITERS * BATCHES - (ALLOWED - 1) // PER_BATCH
    assert used(service)["documents"] == 1 + (ALLOWED - 1) // PER_BATCH * PER_BATCH


def test_a_quota_costs_one_statement_over_the_counters_and_none_where_there_is_none(service: Service) -> None:
    documents = service.runtime.ingest.documents
    documents.upsert([own(0), own(1)])

    def statements_of(number: int) -> list[str]:
        with executed() as seen:
            documents.upsert([own(number)])
        return seen.texts

    without = statements_of(2)
    set_quotas(service, documents=100, chunks=100, bytes=100_000, embedded_chunks_per_day=100)
    limited = statements_of(3)
    assert len(limited) == len(without) + 1
    [counting] = [text for text in limited if "live_bytes" in text and "sum(" in text]
    assert not any(f" {table} " in counting for table in ("docs", "chunks", "revisions", "embeddings"))
