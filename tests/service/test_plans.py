"""No statement of a request or of a claim walks a namespace: what it costs follows what changed, not what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from tests.support.prose import prose
from tests.support.service import PLACE, Service, open_service, settings_in

GROWS = {"chunks", "docs", "revisions", "keywords", "embeddings", "files", "jobs", "query_logs", "query_citations"}
WALK = re.compile(r"^SCAN (\w+)|^SEARCH (\w+) USING .*\((?:team_id=\? AND project_id=\?|team_id=\?|project_id=\?)\)$")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with open_service(settings_in(tmp_path)) as service:
        service.batch({f"doc-{number}": prose(number) for number in range(40)})
        service.rebuild()
        yield service


def walks(plan: list[str]) -> list[str]:
    """The steps of a SQLite plan that read every row of a table that grows, or all of a namespace's rows in it."""
    plans = []
    for step in plan:
        match = WALK.match(step)
        if match and (match[1] or match[2]) in GROWS:
            plans.append(step)
    return plans


@contextmanager
def statements() -> Iterator[list[tuple[Engine, str, Any]]]:
    """Every statement of this process's engines, with its parameters."""
    executed: list[tuple[Engine, str, Any]] = []

    def note(connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: Any) -> None:
        executed.append((connection.engine, statement, parameters[0] if many else parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield executed
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def require_no_walk(executed: list[tuple[Engine, str, Any]]) -> None:
    assert len(executed) > 5
    bad = {}
    for engine, statement, parameters in executed:
        if not re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT|WITH)\b", statement, re.IGNORECASE):
            continue
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        if steps := walks([row[3] for row in rows]):
            bad[" ".join(statement.split())[:400]] = steps
    assert bad == {}


def test_a_plan_that_walks_is_recognised(service: Service) -> None:
    """As keyword rows were once read: SQLite took the order of the primary key before the index of the document."""
    of_revision = "team_id = 1 AND project_id = 1 AND doc_id = 'a' AND revision = 1"
    query = f"SELECT text FROM chunks WHERE {of_revision} ORDER BY faiss_id"
    with service.runtime.database.read() as session:
        plan = [row[3] for row in session.execute(text(f"EXPLAIN QUERY PLAN {query}"))]
    assert walks(plan)


def test_an_upsert_reads_nothing_of_other_documents(service: Service) -> None:
    with statements() as executed:
        service.upsert("new", prose(1000))
        service.upsert("doc-1", prose(1001))
        service.upsert("doc-1", prose(1001), title="Described anew")
        service.batch({f"doc-{number}": prose(2000 + number) for number in range(5)})
    require_no_walk(executed)


def test_an_asynchronous_batch_and_its_worker_read_nothing_of_other_documents(service: Service) -> None:
    with statements() as executed:
        service.batch({f"doc-{number}": prose(3000 + number) for number in range(3)}, async_mode=True)
        assert service.worker.run_one()
    require_no_walk(executed)


def test_a_deletion_reads_nothing_of_other_documents(service: Service) -> None:
    with statements() as executed:
        service.delete("doc-7")
    require_no_walk(executed)


def test_a_search_in_any_mode_reads_no_rows_but_those_of_its_hits(service: Service) -> None:
    service.search("stone garden")
    service.upsert("later", prose(4000))
    with statements() as executed:
        for mode in ("dense", "keyword", "hybrid"):
            service.search("stone garden", mode=mode, context=1)
        service.search("stone garden", group_by="doc")
        service.get("/v1/docs/doc-1/chunks", {**PLACE})
    require_no_walk(executed)


def test_claiming_renewing_and_looking_at_jobs_walk_nothing(service: Service) -> None:
    queue = service.runtime.queue
    job_id = service.batch({"doc-1": prose(5000)}, async_mode=True)["job_id"]
    with statements() as executed:
        claim = queue.claim("plans")
        assert claim is not None
        queue.renew(claim)
        queue.give_back(claim)
        service.job(job_id)
    require_no_walk(executed)


def test_a_page_of_documents_is_read_in_the_order_of_an_index(service: Service) -> None:
    """The first pages of the list are the start of an index, so its plan has neither a sort nor a whole table."""
    service.batch({"later": prose(6000)}, async_mode=True)
    with statements() as executed:
        for params in ({}, {"order": "updated_at"}, {"order": "-updated_at"}, {"status": "processing"}):
            page = service.get("/v1/docs", {**PLACE, **params, "limit": 1})
            if page["has_more"]:
                service.get("/v1/docs", {**PLACE, **params, "limit": 1, "after": page["next_cursor"]})
    plans = {statement: plan for statement, plan in _plans(executed) if " docs" in statement}
    assert len(plans) == 7
    assert [step for plan in plans.values() for step in plan if "TEMP B-TREE" in step or step.startswith("SCAN")] == []
    assert any("ix__docs__not_ready (team_id=? AND project_id=? AND status=?" in plan[0] for plan in plans.values())


def _plans(executed: list[tuple[Engine, str, Any]]) -> Iterator[tuple[str, list[str]]]:
    for engine, statement, parameters in executed:
        if statement.lstrip().startswith("SELECT"):
            with engine.connect() as connection:
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            yield statement, [row[3] for row in rows]
