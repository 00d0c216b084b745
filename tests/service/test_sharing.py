"""A worker is shared: a long job lets other tenants' go first and loses nothing, and a document's cost is bounded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from threading import Event
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from database.engine import Database
from errors import GivesWay
from job_queue import JobQueue
from migrations.upgrade import bring_up_to_date
from models import KeywordRow, Project
from services.index.pacing import FIRST_TEXTS
from tests.service.test_queue import ask, claimed, finish, status, tenant
from tests.support.service import PLACE, Service

LONG = {**PLACE, "doc_id": "long", "chunks": [{"text": f"Ship number {number} sails."} for number in range(300)]}
SHORT = {**PLACE, "tenant_id": "other", "doc_id": "short", "text": "Cats sleep."}


@pytest.fixture
def shared(service: Service) -> Iterator[Service]:
    """Where every step of a job is longer than its slice."""
    with service.restarted(worker_slice_seconds=1e-6) as shared:
        yield shared


def sent(service: Service, doc: dict[str, Any]) -> str:
    job_id: str = service.post("/v1/docs/upsert/batch", {"docs": [doc], "async_mode": True})["job_id"]
    return job_id


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database.open(database_url) as database:
        bring_up_to_date(database)
        yield database


def test_a_job_gives_way_to_others_alone_after_its_slice_alone_and_has_its_next_turn_behind_them(
    database: Database,
) -> None:
    queue = JobQueue(database, lease_seconds=30, max_attempts=3, retry_seconds=0, slice_seconds=0.2)
    busy, calm = tenant(database, "busy"), tenant(database, "calm")
    [first, second] = ask(queue, busy, 2)
    claim = claimed(queue)
    with queue.lease(claim, Event()) as lease:
        time.sleep(0.3)
        lease.give_way()  # the tenant's own second job waits: no reason
        ask(queue, calm)
        with pytest.raises(GivesWay):
            lease.give_way()
    queue.give_back(claim)
    with queue.lease(claimed(queue), Event()) as lease:
        assert lease.claim.team_id == calm.team_id
        lease.give_way()  # it has only begun
    finish(queue, lease.claim)
    again = claimed(queue)
    assert (again.job_id, again.attempt) == (first, 1)
    assert status(queue, second) == "pending"


def test_one_large_document_lets_another_tenants_go_first_and_is_embedded_once(shared: Service) -> None:
    long, short = sent(shared, LONG), sent(shared, SHORT)
    assert shared.worker.run_one()
    job = shared.job(long)
    assert (job["status"], job["attempts"], job["error"]) == ("pending", 0, None)
    assert 0 < job["progress"] < 100
    assert shared.worker.run_one()
    assert (shared.job(short)["status"], shared.job(long)["status"]) == ("completed", "pending")
    sent(shared, {**SHORT, "doc_id": "another"})
    assert shared.work() == 3, "the long one, the other tenant's, and the long one to its end"
    job = shared.job(long)
    assert (job["status"], job["attempts"], job["progress"]) == ("completed", 1, 100)
    assert (job["result"]["chunks_embedded"], job["result"]["published"]) == (300, 1)
    assert shared.hit_ids("ship number 299", top_k=1) == ["long"]
    assert shared.problems() == []


def test_a_tenant_that_is_alone_is_not_interrupted(shared: Service) -> None:
    long = sent(shared, LONG)
    sent(shared, {**PLACE, "doc_id": "short", "text": "Cats sleep."})
    assert shared.worker.run_one()
    assert shared.job(long)["status"] == "completed"


def test_a_move_to_another_model_lets_other_tenants_go_first_and_embeds_nothing_twice(shared: Service) -> None:
    shared.post("/v1/docs/upsert/batch", {"docs": [LONG]})
    request = {**PLACE, "reembed": True, "new_embedding_version": "next"}
    job_id = shared.post("/v1/index/rebuild", request)["job_id"]
    short = sent(shared, SHORT)
    turns = 0
    while shared.job(job_id)["status"] == "pending":
        assert shared.worker.run_one()
        turns += 1
    assert turns > 2
    assert shared.job(short)["status"] == "completed"
    job = shared.job(job_id)
    assert (job["status"], job["attempts"], job["result"]["chunks_embedded"]) == ("completed", 1, 300)
    assert shared.stats()["embedding_version"] == "next"
    assert shared.problems() == []


def test_each_turn_of_the_mending_of_words_gets_a_step_further(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    runtime = service.runtime
    with runtime.database.write() as session:
        session.execute(delete(KeywordRow))
        session.execute(update(Project).values(keywords_seq=-1))
        project = session.scalars(select(Project)).one()

    def give_way() -> None:
        raise GivesWay("Another's turn.")

    with pytest.raises(GivesWay):
        runtime.index.indexing.keywords.repair(project, check=give_way)
    with runtime.database.read() as session:
        assert session.scalar(select(func.count()).select_from(KeywordRow)) == 1


def test_the_progress_of_a_job_of_one_document_moves_while_it_is_embedded(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = sent(service, LONG)
    embed, progress = service.runtime.index.embedding.embed, []

    def watched(version: str, texts: Mapping[bytes, str]) -> dict[bytes, bytes]:
        progress.append(service.job(job_id))
        return embed(version, texts)

    monkeypatch.setattr(service.runtime.ingest.ingesting.embedding, "embed", watched)
    service.work()
    first, *later = progress
    assert [first[name] for name in ("progress", "chunks_done", "chunks_total", "seconds_left")] == [
        0,
        None,
        None,
        None,
    ]
    assert later[0]["chunks_done"] == FIRST_TEXTS
    assert [job["progress"] for job in later] == [100 * job["chunks_done"] // 300 for job in later]
    assert all(job["chunks_total"] == 300 and job["seconds_left"] >= 0 for job in later)
    done = service.job(job_id)
    assert (done["chunks_done"], done["chunks_total"], done["seconds_left"]) == (300, 300, None)


def test_another_tenants_job_runs_while_a_file_is_cut_and_gives_way_after_its_slice(shared: Service) -> None:
    files = [("file", ("ships.txt", b"\n\n".join(b"Ship number %d sails." % n for n in range(100))))]
    answer = shared.client.post("/v1/docs/upload", data={**PLACE, "doc_id": "file"}, files=files).json()
    long = sent(shared, {**LONG, "tenant_id": "other"})
    short = sent(shared, {**SHORT, "tenant_id": "third"})
    assert shared.worker.run_one()
    assert shared.job(long)["chunks_done"] >= FIRST_TEXTS
    shared.work()
    file, guest, line = jobs = [shared.job(job_id) for job_id in (answer["job_id"], long, short)]
    assert [(job["outcome"], job["attempts"]) for job in jobs] == 3 * [("completed", 1)]
    assert line["completed_at"] < guest["completed_at"], "the first guest gave way to the second"
    assert line["completed_at"] < file["completed_at"]
    assert guest["result"]["chunks_embedded"] == 300
    assert shared.problems() == []


def test_a_document_that_changes_between_two_steps_is_left_alone(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = sent(service, LONG)
    embed, calls = service.runtime.index.embedding.embed, []

    def overtaken(version: str, texts: Mapping[bytes, str]) -> dict[bytes, bytes]:
        calls.append(len(texts))
        if len(calls) == 1:
            service.upsert("long", "Accepted later.")
        return embed(version, texts)

    monkeypatch.setattr(service.runtime.ingest.ingesting.embedding, "embed", overtaken)
    service.work()
    job = service.job(job_id)
    assert (calls, job["status"], job["result"]["superseded"]) == ([FIRST_TEXTS], "completed", 1)
    assert [chunk["text"] for chunk in service.search("accepted")["chunks"]] == ["Accepted later."]


def test_a_document_of_too_many_chunks_is_refused_with_their_number_and_what_to_do(service: Service) -> None:
    message = "comes to 300 chunks; at most 20 are accepted (MAX_CHUNKS_PER_DOCUMENT). Split it into several documents"
    rows = "ship,length\n" + "\n".join(
        f"Anna {number},{number} m long in words that take some room" for number in range(900)
    )
    with service.restarted(max_chunks_per_document=20) as bounded:
        for body in ({"docs": [LONG]}, {"docs": [LONG], "async_mode": True}):
            problem = bounded.post("/v1/docs/upsert/batch", body, expect=422)
            assert (problem["error"]["param"], message in problem["detail"]) == ("chunks", True)
        assert bounded.upsert("doc", rows, expect=422)["error"]["param"] == "text"
        files = [("file", ("many.csv", rows.encode())), ("file", ("few.csv", b"ship,length\nAnna,12 m"))]
        answer = bounded.client.post("/v1/docs/upload", data=PLACE, files=files).json()
        bounded.work()
        many, few = (bounded.doc(doc["doc_id"]) for doc in answer["docs"])
        assert (many["status"], few["status"]) == ("failed", "ready")
        assert "chunks; at most 20 are accepted (MAX_CHUNKS_PER_DOCUMENT)" in many["error"]
        assert bounded.job(answer["job_id"])["status"] == "completed"
