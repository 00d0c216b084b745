"""Erasing documents: nothing of them is left anywhere, whoever is interrupted, and a receipt proves it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from database.engine import Database
from domain import Json
from models import Base, Doc, Embedding, Job, LoggedQuery, Revision
from services.erasure.receipts import verify_ledger
from services.ingest.preparing import Preparing
from tests.support.postgres import dumped
from tests.support.processes import until
from tests.support.service import PLACE, Service, end_leases

WORD = "Quixovarblestone"
OTHER = {"tenant_id": "globex", "namespace": "project_001"}


def erase(service: Service, expect: int = 202, **what: Any) -> Any:
    return service.post("/v1/erasures", {**PLACE, **what}, expect=expect)


def receipt_of(service: Service, erasure_id: str) -> Any:
    return service.get(f"/v1/erasures/{erasure_id}")["receipt"]


def plant(service: Service, *, chunking: Json | None = None) -> list[bytes]:
    """A document with old revisions, a raw file, a logged question, a failed job and a kept answer. Returns what must
    be found nowhere after its erasure.
    """
    service.batch({f"doc-{n:02d}": f"Cats number {n} sleep all day." for n in range(30)})
    if chunking is not None:
        let_serve(service, chunking)
    service.upsert(f"{WORD}-1", f"The first {WORD} sleeps.", metadata={"of": WORD})
    service.upsert(f"{WORD}-1", f"The second {WORD} sleeps in the sun.", title=WORD)
    with service.runtime.database.read() as session:
        every = {row.embed_hash: row.vector for row in session.scalars(select(Embedding))}
    vectors = [vector for vector in every.values() if service_has(service, vector)]
    key = {"Idempotency-Key": f"{WORD}-key"}
    files = [("file", (f"{WORD}.txt", f"A raw {WORD} of a file.".encode()))]
    uploaded = service.client.post("/v1/docs/upload", data={**PLACE, "doc_id": f"{WORD}-1"}, files=files, headers=key)
    assert uploaded.status_code == 200, uploaded.text
    service.work()
    broken = [("file", (f"{WORD}-2.pdf", b"%PDF-1.4 broken " + WORD.encode()))]
    service.client.post("/v1/docs/upload", data={**PLACE, "doc_id": f"{WORD}-1"}, files=broken)
    service.work()
    service.search(f"Who is {WORD}?")
    service.rebuild()
    return [WORD.encode(), WORD.lower().encode(), *vectors]


def let_serve(service: Service, chunking: Json) -> None:
    """A version with another chunking."""
    version = {**PLACE, "name": "small", "chunking": chunking, "activate": "when_ready"}
    service.post("/v1/index/versions", version, expect=202)
    service.work()


def logged_questions(service: Service) -> list[str]:
    with service.runtime.database.read() as session:
        return list(session.scalars(select(LoggedQuery.question).where(LoggedQuery.question.contains(WORD))))


def service_has(service: Service, vector: bytes) -> bool:
    """Is it the vector of a chunk of the planted document?"""
    hashes = text("SELECT embed_hash FROM chunks WHERE doc_id = :doc")
    with service.runtime.database.read() as session:
        of_doc = {bytes(row[0]) for row in session.execute(hashes, {"doc": f"{WORD}-1"})}
        owner = session.scalars(select(Embedding.embed_hash).where(Embedding.vector == vector)).all()
    return any(bytes(each) in of_doc for each in owner)


def places_of(service: Service, needles: list[bytes], folder: Path) -> list[str]:
    """Where any of the needles still is: files of the data folder and of the temporary one; of Postgres also its
    columns, and what pg_dump writes.
    """
    where = _files_with(needles, folder)
    if service.runtime.database.file is None:
        where += [
            f"{name}: {needle[:20]!r}" for name, value in _cells(service) for needle in needles if needle in value
        ]
        dump = dumped(service.settings.database_url)
        assert b"CREATE TABLE" in dump
        where += [f"pg_dump: {each[:20]!r}" for each in needles if each in dump or each.hex().encode() in dump]
    return where


def _files_with(needles: list[bytes], folder: Path) -> list[str]:
    """In another process: closing a file that SQLite has open here would drop this process's locks on it."""
    code = (
        "import os, sys; folder, *needles = sys.argv[1:]\n"
        "for root, _, names in os.walk(folder):\n"
        "    for name in names:\n"
        "        content = open(os.path.join(root, name), 'rb').read()\n"
        "        for each in needles:\n"
        "            if bytes.fromhex(each) in content: print(os.path.join(root, name), bytes.fromhex(each)[:20])\n"
    )
    arguments = [sys.executable, "-I", "-S", "-c", code, str(folder), *(needle.hex() for needle in needles)]
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()


def _cells(service: Service) -> Iterator[tuple[str, bytes]]:
    with service.runtime.database.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            for column in table.columns:
                for (value,) in connection.execute(text(f'SELECT "{column.name}" FROM "{table.name}"')):
                    yield f"{table.name}.{column.name}", value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture
def logging_service(service: Service) -> Iterator[Service]:
    with service.restarted(log_query_text=True) as logging:
        yield logging


@pytest.mark.parametrize("chunking", [None, {"chunk_tokens": 16}], ids=["own", "mirror"])
def test_nothing_is_left_of_an_erased_document_and_the_rest_is_as_before(
    logging_service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunking: Json | None
) -> None:
    service = logging_service
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    service.post("/v1/docs/upsert", {**OTHER, "doc_id": "theirs", "text": "Ships of others sail."})
    needles = plant(service, chunking=chunking)
    theirs = service.post("/v1/search", {**OTHER, "query": "ships"})["chunks"]
    until(lambda: bool(logged_questions(service)))
    assert places_of(service, needles, tmp_path)
    accepted = erase(service, doc_ids=[f"{WORD}-1"], reason="asked for by the person")
    assert f"{WORD}-1" not in service.hit_ids("sleeps in the sun", top_k=50)
    service.work()
    job = service.job(accepted["job_id"])
    assert job["outcome"] == "completed", job
    receipt = receipt_of(service, accepted["erasure_id"])
    erased = {each["store"]: each["erased"] for each in receipt["stores"]}
    assert (erased["revisions"], erased["raw_files"], erased["questions"]) == (4, 2, 1), erased
    assert [each["left"] for each in receipt["stores"]] == [0] * len(receipt["stores"])
    assert receipt["search"]["hits"] == 0
    assert places_of(service, needles, tmp_path) == []
    assert service.post("/v1/search", {**OTHER, "query": "ships"})["chunks"] == theirs
    assert len(service.hit_ids("cats", top_k=50)) == 30
    assert service.problems() == []


@pytest.mark.parametrize(
    ("what", "param"),
    [
        ({}, "doc_ids"),
        ({"doc_ids": []}, "doc_ids"),
        ({"filters": {}}, "filters"),
        ({"filters": {"page": 3}}, "filters"),
        ({"everything": True, "doc_ids": ["doc"]}, "doc_ids"),
    ],
)
def test_nothing_is_erased_by_mistake(shared_service: Service, what: dict[str, Any], param: str) -> None:
    shared_service.upsert("doc", "Cats sleep.")
    problem = erase(shared_service, expect=422, **what)
    assert problem["error"]["param"].startswith(param)
    erase(shared_service, expect=404, doc_ids=["doc"], tenant_id="nobody")
    erase(shared_service, expect=404, doc_ids=["doc"], namespace="nowhere")
    place: dict[str, str | bool] = {**PLACE, "hard": True}
    assert shared_service.client.delete("/v1/docs/unknown", params=place).status_code == 404
    for path, body in (
        ("/v1/teams/acme", {"confirm_tenant_id": "acm"}),
        ("/v1/teams/acme/projects/project_001", {"confirm_namespace": "acme"}),
    ):
        assert shared_service.client.request("DELETE", path, json=body).status_code == 422
    assert shared_service.get("/v1/erasures")["data"] == []
    assert shared_service.get("/v1/erasures/unknown", expect=404)["error"]["code"] == "not_found"
    assert "doc" in shared_service.hit_ids("cats")


class Killed(BaseException):
    """As a SIGKILL, at a commit or at the unlinking of a file."""


def test_an_erasure_that_is_killed_at_any_point_is_complete_when_it_goes_on(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty points, spread over the transactions of an erasure, before and after the commit of each in turn."""
    needles = [b"Zorblax", b"zorblax"]
    write = Database.write
    calls = {"count": 0, "kill_at": -1}

    @contextmanager
    def deadly(database: Database) -> Iterator[Session]:
        calls["count"] += 1
        is_last = calls["count"] == calls["kill_at"]
        with write(database) as session:
            yield session
            if is_last and calls["count"] % 2:
                raise Killed
        if is_last:
            raise Killed

    monkeypatch.setattr(Database, "write", deadly)
    service.batch({f"doc-{n}": f"Cats number {n}." for n in range(5)})
    let_serve(service, {"chunk_tokens": 16})
    for kill_at in range(1, 21):
        service.upsert("doomed", f"The Zorblax number {kill_at} sleeps.", metadata={"of": "Zorblax"})
        service.rebuild() if kill_at % 3 == 0 else None
        accepted = erase(service, doc_ids=["doomed"])
        calls.update(count=0, kill_at=2 * kill_at)
        with suppress(Killed):
            service.work()
        calls["kill_at"] = -1
        end_leases(service.runtime.database)
        service.work()
        receipt = receipt_of(service, accepted["erasure_id"])
        assert sum(each["left"] for each in receipt["stores"]) == 0
        assert {each["store"]: each["erased"] for each in receipt["stores"]}["revisions"] == 1
        assert places_of(service, needles, tmp_path) == [], kill_at
    assert sorted(service.hit_ids("cats", top_k=20)) == [f"doc-{n}" for n in range(5)]
    assert service.problems() == []
    numbers = [each["number"] for each in service.get("/v1/erasures")["data"]]
    assert numbers == list(range(20, 0, -1))
    assert verify_ledger(service.runtime.erasure.ledger.export()) == 20


def test_what_is_accepted_after_an_erasure_stays_and_a_vector_that_others_share_too(service: Service) -> None:
    shared = "A sentence that two documents have."
    service.batch({"mine": shared, "theirs": shared, "other": "Ships sail."})
    service.batch({"mine": "Waiting cats."}, async_mode=True)
    accepted = erase(service, doc_ids=["mine", "never-seen"])
    service.upsert("mine", "A new text of mine.")
    again = erase(service, filters={"doc_id": "other"})
    service.work()
    assert sorted(service.hit_ids("sentence", top_k=10)) == ["mine", "theirs"]
    assert service.doc("mine")["revision"] >= 1
    receipt = receipt_of(service, accepted["erasure_id"])
    assert receipt["scope"]["documents"] == 2
    assert receipt_of(service, again["erasure_id"])["scope"]["documents"] == 1
    twice = erase(service, doc_ids=["other"])
    service.work()
    assert all(each["found"] == 0 for each in receipt_of(service, twice["erasure_id"])["stores"])
    with service.runtime.database.read() as session:
        assert len(session.scalars(select(Embedding.embed_hash)).all()) == 2
    assert service.problems() == []


def test_a_vector_that_is_erased_while_an_upsert_counts_on_it_is_made_again(service: Service) -> None:
    service.upsert("old", "A sentence that both have.")
    documents = service.runtime.ingest.documents
    begin = documents.preparing.embed

    def erased_meanwhile(plan: Any) -> Any:
        prepared = begin(plan)
        monkeypatch.undo()
        erase(service, doc_ids=["old"])
        service.work()
        return prepared

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Preparing, "embed", lambda _, plan: erased_meanwhile(plan))
        service.upsert("new", "A sentence that both have.")
    assert service.hit_ids("sentence") == ["new"]
    assert service.problems() == []


def test_a_hard_deletion_and_the_erasure_of_a_namespace_and_a_tenant(service: Service, tmp_path: Path) -> None:
    service.post("/v1/docs/upsert", {**OTHER, "doc_id": "theirs", "text": "Ships of others sail."})
    service.batch({"one": "Cats sleep.", "two": "Dogs bark."})
    deleted = service.client.delete("/v1/docs/one", params={**PLACE, "hard": True})
    assert (deleted.status_code, deleted.headers["location"]) == (202, f"/v1/jobs/{deleted.json()['job_id']}")
    assert service.hit_ids("cats") == ["two"]
    service.work()
    assert service.client.get("/v1/docs/one", params=PLACE).status_code == 404
    assert service.client.delete("/v1/docs/one", params={**PLACE, "hard": True}).status_code == 404

    path = f"/v1/teams/acme/projects/{PLACE['namespace']}"
    gone = service.client.request("DELETE", path, json={"confirm_namespace": PLACE["namespace"]}).json()
    assert service.hit_ids("dogs") == []
    service.upsert("new", "A new namespace of the same name.")
    service.work()
    assert service.get(f"/v1/erasures/{gone['erasure_id']}")["status"] == "completed"
    assert service.hit_ids("namespace") == ["new"]
    assert [each["namespace"] for each in service.get("/v1/teams/acme/projects")["data"]] == [PLACE["namespace"]]

    last = service.client.request("DELETE", "/v1/teams/acme", json={"confirm_tenant_id": "acme"}).json()
    service.work()
    assert service.get(f"/v1/erasures/{last['erasure_id']}")["receipt"]["kind"] == "tenant"
    assert service.get("/v1/teams/acme", expect=404)
    assert [each["tenant_id"] for each in service.get("/v1/index/stats")["indices"]] == ["globex"]
    assert places_of(service, [b"acme", b"Dogs bark", b"A new namespace"], tmp_path) == []
    with service.runtime.database.write() as session:
        session.execute(delete(Job))
    assert service.runtime.erasure.erasing.drop_shells() == 2
    assert service.problems() == []
    assert service.post("/v1/search", {**OTHER, "query": "ships"})["chunks"]


def test_an_answer_that_was_kept_to_be_repeated_does_not_bring_the_document_back(service: Service) -> None:
    upload: dict[str, Any] = {"data": {**PLACE, "doc_id": "doomed"}, "headers": {"Idempotency-Key": "once"}}
    files = [("file", ("a.txt", b"Cats in a file."))]
    assert service.client.post("/v1/docs/upload", files=files, **upload).status_code == 200
    service.work()
    erase(service, doc_ids=["doomed"])
    service.work()
    repeated = service.client.post("/v1/docs/upload", files=files, **upload)
    assert (repeated.status_code, repeated.json()["error"]["code"]) == (409, "conflict")
    assert service.hit_ids("cats") == []


def test_deleted_content_goes_for_good_after_a_while_and_what_serves_stays(service: Service) -> None:
    service.batch({"kept": "The first Plimsoll.", "gone": "A gone Plimsoll.", "other": "Ships sail."})
    service.upsert("kept", "The second text.")
    service.delete("gone")
    service.rebuild()
    assert service.stats()["deleted_chunks"] == 2
    purging = service.runtime.erasure.purging
    assert purging.purge() == 0
    impatient = replace(purging, keep_days=0.0)
    assert impatient.purge() > 0
    assert service.stats()["deleted_chunks"] == 0
    with service.runtime.database.read() as session:
        assert sorted(session.scalars(select(Revision.doc_id))) == ["kept", "other"]
        assert sorted(session.scalars(select(Doc.doc_id))) == ["kept", "other"]
        assert len(session.scalars(select(Embedding.embed_hash)).all()) == 2
    assert sorted(service.hit_ids("text ships", top_k=10)) == ["kept", "other"]
    assert service.problems() == []
    with service.restarted() as other:
        assert sorted(other.hit_ids("text ships", top_k=10)) == ["kept", "other"]


def test_a_process_that_did_not_follow_finds_nothing_that_was_erased_meanwhile(service: Service) -> None:
    service.batch({f"doc-{n}": f"Cats number {n}." for n in range(6)})
    service.rebuild()
    with service.restarted() as idle:
        assert len(idle.hit_ids("cats", top_k=10)) == 6
        erase(service, doc_ids=["doc-1", "doc-4"])
        service.work()
        assert sorted(idle.hit_ids("cats", top_k=4)) == ["doc-0", "doc-2", "doc-3", "doc-5"]
        assert sorted(idle.hit_ids("cats", top_k=4, mode="keyword")) == ["doc-0", "doc-2", "doc-3", "doc-5"]
