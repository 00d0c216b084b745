"""kill -9 at any moment: nothing lost, nothing done twice."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

from sqlalchemy import func, select

from engines.embedders.base import Embedder
from models import Embedding
from services.index.pacing import FIRST_TEXTS, MOST_TEXTS
from tests.support.embedding_server import embedding_server
from tests.support.examples import is_thorough
from tests.support.processes import api_process, until, worker_process
from tests.support.prose import prose
from tests.support.service import PLACE, Service, end_leases, open_service, settings_in, vectors_of

TEXTS_BEFORE_KILLS = (0, 64, MOST_TEXTS, 0)[: 4 if is_thorough() else 3]
"""How many texts each worker has sent before it is killed: amid a request, between two, behind a step, and again."""
DOCS = 200 if is_thorough() else 120
REBUILDS = 6 if is_thorough() else 3


def test_workers_killed_in_a_batch_lose_nothing_and_embed_nothing_twice(
    database_url: str, tmp_path: Path, bundled_model: Embedder
) -> None:
    with embedding_server(bundled_model) as server:
        settings = settings_in(tmp_path, database_url=database_url, **vectors_of(server))
        with open_service(settings) as service:
            docs = {f"doc-{number:03d}": f"{prose(number)}\n\n{prose(1000 + number, 12)}" for number in range(DOCS)}
            job_id = service.batch(docs, async_mode=True)["job_id"]
            for kill, texts in enumerate(TEXTS_BEFORE_KILLS):
                with worker_process(settings) as worker:
                    enough = len(server.texts) + texts
                    until(partial(lambda enough: len(server.texts) > enough, enough))
                    time.sleep(random.Random(kill).uniform(0, 0.5))
                    worker.kill()
                end_leases(service.runtime.database)
            kept = stored(service)
            assert kept >= FIRST_TEXTS
            requests_before = len(server.texts)
            with worker_process(settings):
                until(lambda: service.job(job_id)["status"] == "completed")
            job = service.job(job_id)
            listed = service.get("/v1/docs", {**PLACE, "limit": 1000})["data"]
            assert [doc["doc_id"] for doc in listed] == sorted(docs)
            assert all(doc["status"] == "ready" and doc["revision"] == 1 for doc in listed)
            assert (job["result"]["published"], job["result"]["failed"]) == (DOCS, 0)
            assert job["result"]["chunks_embedded"] == stored(service) == len(set(server.texts))
            assert len(server.texts) - requests_before == stored(service) - kept
            assert len(server.texts) - len(set(server.texts)) <= len(TEXTS_BEFORE_KILLS) * MOST_TEXTS
            assert service.problems() == []


def stored(service: Service) -> int:
    with service.runtime.database.read() as session:
        return session.scalar(select(func.count()).select_from(Embedding)) or 0


def test_workers_killed_in_a_rebuild_leave_the_old_index_serving(remote_service: Service) -> None:
    settings = remote_service.settings
    remote_service.batch({f"doc-{number:03d}": prose(number) for number in range(150)})
    rng = random.Random(7)
    for kill in range(REBUILDS):
        remote_service.upsert("changing", prose(1000 + kill))
        expected = remote_service.hit_ids("winter garden", top_k=20)
        job_id = remote_service.post("/v1/index/rebuild", PLACE)["job_id"]
        with worker_process(settings) as worker:
            until(partial(lambda queued: remote_service.job(queued)["status"] != "pending", job_id))
            time.sleep(rng.uniform(0, 0.08))
            worker.kill()
        end_leases(remote_service.runtime.database)
        assert remote_service.hit_ids("winter garden", top_k=20) == expected
        assert remote_service.problems() == []
    with worker_process(settings):
        until(
            lambda: (
                remote_service.get("/v1/queue/stats")["pending"] + remote_service.get("/v1/queue/stats")["running"] == 0
            )
        )
    assert remote_service.get("/v1/queue/stats")["failed"] == 0
    assert len(remote_service.index_files()) == (1 if remote_service.keeps_files else 0)
    assert remote_service.problems() == []


def test_an_api_killed_while_it_answers_has_kept_whatever_it_acknowledged(remote_service: Service) -> None:
    acknowledged: dict[str, str] = {}
    for round_ in range(3 if is_thorough() else 2):
        with api_process(remote_service.settings) as api:
            for number in range(8):
                text = prose(100 * round_ + number)
                api.upsert(f"doc-{number}", text)
                acknowledged[f"doc-{number}"] = text
            api.process.kill()
        chunks = remote_service.search("winter", top_k=50)["chunks"]
        assert {chunk["doc_id"]: chunk["text"] for chunk in chunks} == acknowledged
    assert remote_service.problems() == []
