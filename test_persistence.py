"""The promises of the README, asked of the real thing: HTTP, worker, model, database, files and all."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.service import (
    PLACE,
    Service,
    Store,
    every_store,
    migrated_postgres,
    one_bundled_model,
    postgres,
    service,
)

__all__ = ["migrated_postgres", "one_bundled_model", "postgres", "service"]


@every_store
def test_upsert_then_retrieve_returns_chunks(service: Service) -> None:
    service.upsert("cats", "Cats sleep all day.")
    service.upsert("ships", "Ships sail the sea.")
    [first, *_] = service.search("where do ships sail?")["chunks"]
    assert (first["doc_id"], first["chunk_id"], first["text"]) == ("ships", "ships#c0000", "Ships sail the sea.")
    assert 0.5 < first["score"] <= 1.0


@every_store
def test_delete_then_retrieve_excludes_doc(service: Service) -> None:
    service.upsert("cats", "Cats sleep all day.")
    service.upsert("ships", "Ships sail the sea.")
    answer = service.delete("ships")
    assert (answer["deleted"], answer["chunks_deleted"]) == (True, 1)
    assert service.hit_ids("where do ships sail?") == ["cats"]
    service.work()
    assert service.job(answer["job_id"])["status"] == "completed"
    assert service.hit_ids("where do ships sail?") == ["cats"]


@every_store
def test_idempotent_upsert(service: Service) -> None:
    assert service.upsert("cats", "Cats sleep.")["chunks_created"] == 1
    again = service.upsert("cats", "Cats sleep.  \r\n")
    assert (again["skipped_docs"], again["upserted_docs"], again["chunks_created"]) == (1, 0, 0)
    assert service.search("cats")["total_found"] == 1


@every_store
def test_health_endpoint(service: Service) -> None:
    health = service.get("/v1/health")
    assert (health["ok"], health["db_ok"], health["index_store_ok"], health["jobqueue_ok"]) == (True,) * 4
    assert health["build_info"]["embedding_model"] == "sentence-transformers/all-MiniLM-L6-v2"


@every_store
def test_what_was_accepted_is_there_after_a_restart(service: Service) -> None:
    service.upsert("cats", "Cats sleep all day.")
    docs = [{**PLACE, "doc_id": "ships", "text": "Ships sail the sea."}]
    job = service.post("/v1/docs/upsert/batch", {"async_mode": True, "docs": docs})
    with service.restarted() as after:
        assert after.hit_ids("ships") == ["cats"]
        after.work()
        assert after.job(job["job_id"])["status"] == "completed"
        assert after.hit_ids("ships") == ["ships", "cats"]


@pytest.mark.parametrize("service", [Store.SQLITE], indirect=True)
def test_index_files_can_be_deleted_at_any_time(service: Service) -> None:
    service.upsert("cats", "Cats sleep all day.")
    service.rebuild()
    [file] = service.index_files()
    file.unlink()
    with service.restarted() as after:
        assert after.hit_ids("cats") == ["cats"]
        after.work()
        assert len(after.index_files()) == 1


if __name__ == "__main__":
    # In a process of its own: pytest wants to be there before what it watches is imported.
    sys.exit(
        subprocess.call([sys.executable, "-m", "pytest", "-p", "no:schemathesis", __file__, "-v", "-s", *sys.argv[1:]])
    )
