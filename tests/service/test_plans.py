"""No statement of a request or of a claim walks a namespace: what it costs follows what changed, not what is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, insert, select, text

from domain import JobStatus
from models import Chunk, Job, Revision, utc_now
from services.ingest.drafts import NewDoc, OwnChunk
from services.ingest.own_chunks import unit_vector
from tests.support.plans import executed, walks_in
from tests.support.prose import prose
from tests.support.service import PLACE, Service

DOCS, JOBS, DIMENSION, PER_BATCH = 1500, 1500, 4, 500


def doc(number: int, *, revision: int = 0, **more: Any) -> NewDoc:
    vector = unit_vector(np.random.default_rng((number, revision)).normal(size=DIMENSION).tolist(), param="")
    words = OwnChunk(f"stone garden {number} revision {revision}", vector=vector)
    place = PLACE["tenant_id"], PLACE["namespace"]
    return NewDoc(*place, f"doc-{number}", "", {}, chunks=(words,), **more)


def fill(service: Service) -> None:
    """Enough for Postgres to prefer indexes. SQLite decides without numbers."""
    documents = service.runtime.ingest.documents
    for start in range(0, DOCS, PER_BATCH):
        documents.upsert([doc(number) for number in range(start, start + PER_BATCH)])
    job = {"team_id": 1, "project_id": 1, "type": "ingest_docs", "payload_json": {}, "run_after": 0.0}
    done = {"status": JobStatus.COMPLETED, "completed_at": utc_now()}
    with service.runtime.database.write() as session:
        session.execute(insert(Job), [{**job, **done, "job_id": f"done-{number}"} for number in range(JOBS)])
    service.work()
    if service.runtime.database.file is None:
        with service.runtime.database.write() as session:
            session.execute(text("ANALYZE"))


def test_nothing_that_a_request_or_a_worker_asks_walks_a_namespace(service: Service) -> None:
    fill(service)
    service.client.patch("/v1/teams/acme", json={"quotas": {"chunks": 10**6, "embedded_chunks_per_day": 10**6}})
    documents, queue, vector = service.runtime.ingest.documents, service.runtime.queue, [0.5, 0.5, 0.1, 0.2]
    service.post("/v1/search", {**PLACE, "vector": vector})  # loads the index, once
    with executed() as seen:
        documents.upsert([doc(DOCS)])
        documents.upsert([doc(1, revision=1)])
        documents.upsert([doc(1, revision=1, title="Described anew")])
        documents.upsert([doc(number, revision=2) for number in range(5)])
        documents.accept([doc(number, revision=3) for number in range(5)])
        job_id = documents.accept([doc(number, revision=4) for number in range(3)]).job_id
        claim = queue.claim("plans")
        assert claim is not None
        queue.renew(claim)
        queue.give_back(claim)
        assert service.worker.run_one() and service.worker.run_one()
        assert service.job(str(job_id))["status"] == "completed"
        service.delete("doc-7")
        for more in ({}, {"query": "garden", "mode": "hybrid", "context": 1}, {"group_by": "doc"}):
            assert len(service.post("/v1/search", {**PLACE, "vector": vector, **more})["chunks"]) == 5
        service.search("garden", mode="keyword")
        service.get("/v1/docs/doc-1/chunks", {**PLACE})
        assert len(service.runtime.ingest.browsing.revisions("acme", "project_001", "doc-1", limit=10)) > 1
    assert len(seen.statements) > 100
    assert not (walks := seen.walks()), "\n".join(f"{steps} {query}" for query, steps in walks.items())
    with service.runtime.database.read() as session:
        assert session.scalar(select(func.count()).where(Revision.status == "live")) == DOCS
        assert session.scalar(select(func.count()).where(Chunk.dead_seq.is_(None), Chunk.live_seq.is_not(None))) == DOCS


@pytest.mark.parametrize(
    "query",
    [
        "SELECT text FROM chunks WHERE team_id = 1 AND project_id = 1 AND text = 'a'",
        "SELECT faiss_id FROM chunks JOIN docs USING (team_id, project_id, doc_id) WHERE error = 'a'",
        "UPDATE docs SET error = NULL WHERE error = 'a'",
    ],
)
def test_a_plan_that_walks_is_recognised(service: Service, query: str) -> None:
    assert walks_in(service.runtime.database.engine, query, ())


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)
def test_the_order_of_the_primary_key_is_a_walk_on_sqlite(service: Service) -> None:
    """As keyword rows were once read: SQLite took the order of the primary key before the index of the document."""
    engine = service.runtime.database.engine
    query = "SELECT text FROM chunks WHERE team_id = 1 AND project_id = 1 AND doc_id = 'a' AND revision = 1"
    assert walks_in(engine, f"{query} ORDER BY faiss_id", ())
    assert not walks_in(engine, query, ())


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)
def test_a_page_of_documents_is_read_in_the_order_of_an_index(service: Service) -> None:
    """The first pages of the list are the start of an index, so its plan has neither a sort nor a whole table."""
    service.batch({f"doc-{number}": prose(number) for number in range(40)})
    service.batch({"later": prose(6000)}, async_mode=True)
    with executed() as seen:
        for params in ({}, {"order": "updated_at"}, {"order": "-updated_at"}, {"status": "processing"}):
            page = service.get("/v1/docs", {**PLACE, **params, "limit": 1})
            if page["has_more"]:
                service.get("/v1/docs", {**PLACE, **params, "limit": 1, "after": page["next_cursor"]})
    plans = {statement: plan for statement, plan in seen.sqlite_plans().items() if " docs" in statement}
    assert len(plans) == 7
    assert [step for plan in plans.values() for step in plan if "TEMP B-TREE" in step or step.startswith("SCAN")] == []
    assert any("ix__docs__not_ready (team_id=? AND project_id=? AND status=?" in plan[0] for plan in plans.values())
