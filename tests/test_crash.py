"""kill -9 at any moment: nothing lost, nothing done twice."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

from sqlalchemy import func, select

from models import Embedding
from services.ingesting import TEXTS_PER_STEP
from tests.embedding_server import embedding_server
from tests.processes import api_process, until, worker_process
from tests.service import PLACE, Service, open_service, settings_in
from tests.test_documents import prose

KILLS = 4


def test_workers_killed_in_a_batch_lose_nothing_and_embed_nothing_twice(service: Service, tmp_path: Path) -> None:
    bundled = service.runtime.embedding.embedder(service.settings.version)
    (tmp_path / "remote").mkdir()
    with embedding_server(bundled) as server:
        remote = {"embed_backend": "remote", "embed_base_url": server.url, "embed_model_name": "bundled"}
        settings = settings_in(tmp_path / "remote", job_lease_seconds=0.6, **remote)
        with open_service(settings) as remote_service:
            docs = {f"doc-{number:03d}": f"{prose(number)}\n\n{prose(1000 + number, 12)}" for number in range(200)}
            job_id = remote_service.batch(docs, async_mode=True)["job_id"]
            for kill in range(KILLS):
                with worker_process(settings) as worker:
                    before = len(server.asked)
                    until(partial(lambda seen: len(server.asked) > seen, before))
                    time.sleep(random.Random(kill).uniform(0, 0.5))
                    worker.kill()
            kept = stored(remote_service)
            asked_before = len(server.asked)
            with worker_process(settings):
                until(lambda: remote_service.job(job_id)["status"] == "completed")
            job = remote_service.job(job_id)
            listed = remote_service.get("/v1/docs", {**PLACE, "limit": 1000})["data"]
            assert [doc["doc_id"] for doc in listed] == sorted(docs)
            assert all(doc["status"] == "ready" and doc["revision"] == 1 for doc in listed)
            assert (job["result"]["published"], job["result"]["failed"]) == (200, 0)
            assert job["result"]["chunks_embedded"] == stored(remote_service) == len(set(server.asked))
            assert len(server.asked) - asked_before == stored(remote_service) - kept
            assert len(server.asked) - len(set(server.asked)) <= KILLS * TEXTS_PER_STEP
            assert remote_service.problems() == []


def stored(service: Service) -> int:
    with service.runtime.database.read() as session:
        return session.scalar(select(func.count()).select_from(Embedding)) or 0


def test_workers_killed_in_a_rebuild_leave_the_old_index_serving(service: Service) -> None:
    settings = service.settings.model_copy(update={"job_lease_seconds": 0.3})
    service.batch({f"doc-{number:03d}": prose(number) for number in range(150)})
    rng = random.Random(7)
    for kill in range(6):
        service.upsert("changing", prose(1000 + kill))
        expected = service.found("winter garden", top_k=20)
        job_id = service.post("/v1/index/rebuild", PLACE)["job_id"]
        with worker_process(settings) as worker:
            until(partial(lambda asked: service.job(asked)["status"] != "pending", job_id))
            time.sleep(rng.uniform(0, 0.08))
            worker.kill()
        assert service.found("winter garden", top_k=20) == expected
        assert service.problems() == []
    with worker_process(settings):
        until(lambda: service.get("/v1/queue/stats")["pending"] + service.get("/v1/queue/stats")["running"] == 0)
    assert service.get("/v1/queue/stats")["failed"] == 0
    assert len(service.index_files()) == (1 if service.keeps_files else 0)
    assert service.problems() == []


def test_an_api_killed_while_it_answers_has_kept_whatever_it_acknowledged(service: Service) -> None:
    acknowledged: dict[str, str] = {}
    for round_ in range(3):
        with api_process(service.settings) as api:
            for number in range(8):
                text = prose(100 * round_ + number)
                api.upsert(f"doc-{number}", text)
                acknowledged[f"doc-{number}"] = text
            api.process.kill()
        found = service.search("winter", top_k=50)["chunks"]
        assert {chunk["doc_id"]: chunk["text"] for chunk in found} == acknowledged
    assert service.problems() == []
