"""No statement of a request or of a claim walks a namespace: what it costs follows what changed, not what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, event, func, insert, select, text

import database.prepared
from domain import JobStatus
from models import Chunk, Job, Revision, utc_now
from services.ingest.drafts import NewDoc, OwnChunk
from services.ingest.own_chunks import unit_vector
from tests.support.service import PLACE, Service

DOCS, JOBS, DIMENSION, PER_BATCH = 1500, 1500, 4, 500
GROWS = {"chunks", "docs", "revisions", "keywords", "vectors", "embeddings", "files", "jobs", "query_logs"}
GROWS |= {"query_citations"}
TENANT = {"team_id", "project_id", "embedding_version"}

READS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan")
PARTIAL = {"uq__jobs__waiting"}  # of jobs that wait, of which a namespace has few

# Why a statement may read all rows of a namespace, or all of a table.
ALLOWED = {
    "FROM files JOIN revisions": "Postgres knows that no document here is a file, and reads the empty table",
    "embedding <=> CAST(": "exact search with pgvector compares every vector of the partition",
    "JOIN keywords ON keywords.lexemes @@": "its transaction forbids what this test's connection may choose",
    "SELECT jobs.job_id FROM jobs WHERE jobs.status = ": "ends at the first job that is due, with LIMIT 1",
    "SELECT jobs.team_id FROM jobs WHERE jobs.status = ": "ends at the first team, in the order of the index",
}


@dataclass
class Executed:
    """The statements of this process's engines: the engine, the text, the parameters of the first execution."""

    statements: list[tuple[Engine, str, Any]] = field(default_factory=list)

    def note(self, engine: Engine, statement: str, parameters: Any, *, is_many: bool) -> None:
        if re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT|WITH)\b", statement, re.IGNORECASE):
            self.statements.append((engine, statement, parameters[0] if is_many else parameters))

    def walks(self) -> dict[str, list[str]]:
        return {
            " ".join(statement.split())[:400]: steps
            for engine, statement, parameters in self.statements
            if (steps := walks_in(engine, statement, parameters))
            and not any(each in " ".join(statement.split()) for each in ALLOWED)
        }


def walks_in(engine: Engine, statement: str, parameters: Any) -> list[str]:
    """The steps that read every row of a table that grows, or all of a namespace's rows in it."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            return [row[3] for row in rows if is_sqlite_walk(row[3])]
        [[[plan]]] = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).all()
        return list(postgres_walks(plan["Plan"], None))


def is_sqlite_walk(step: str) -> bool:
    match = re.match(r"(SCAN|SEARCH) (\w+)(?: .*\((.*)\))?", step)
    if match is None or match[2] not in GROWS:
        return False
    return match[1] == "SCAN" or set(re.findall(r"(\w+)[=<>]", match[3] or "")) <= TENANT


def postgres_walks(node: dict[str, Any], table: str | None) -> Iterator[str]:
    table = node.get("Relation Name", table)
    used = set(re.findall(r"\(?(\w+)\)?(?:::\w+)? (?:[=<>@]+|IS)", node.get("Index Cond", "")))
    is_read = node["Node Type"] in READS and node.get("Index Name") not in PARTIAL
    if is_read and table in GROWS and used <= TENANT:
        yield f"{node['Node Type']} of {table}, {node.get('Index Name')}, by {node.get('Index Cond')}"
    for inner in node.get("Plans", []):
        yield from postgres_walks(inner, table)


@contextmanager
def executed() -> Iterator[Executed]:
    seen, run = Executed(), database.prepared._run

    def on_execute(connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: Any) -> None:
        seen.note(connection.engine, statement, parameters, is_many=many)

    def on_run(connection: Any, sql: str, parameters: Any, *, is_many: bool = False) -> Any:
        seen.note(connection.engine, sql, parameters, is_many=is_many)
        return run(connection, sql, parameters, is_many=is_many)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database.prepared, "_run", on_run)
        event.listen(Engine, "before_cursor_execute", on_execute)
        try:
            yield seen
        finally:
            event.remove(Engine, "before_cursor_execute", on_execute)


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
