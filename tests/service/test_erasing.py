"""Erasing documents: nothing of them is left anywhere, whoever is interrupted, and a receipt proves it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from models import Base, Embedding, LoggedQuery
from tests.support.processes import until
from tests.support.service import PLACE, Service

WORD = "Quixovarblestone"
OTHER = {"tenant_id": "globex", "namespace": "project_001"}


def erase(service: Service, expect: int = 202, **what: Any) -> Any:
    return service.post("/v1/erasures", {**PLACE, **what}, expect=expect)


def receipt_of(service: Service, erasure_id: str) -> Any:
    return service.get(f"/v1/erasures/{erasure_id}")["receipt"]


def plant(service: Service) -> list[bytes]:
    """A document with old revisions, a raw file, a logged question, a failed job and a kept answer. Returns what must
    be found nowhere after its erasure.
    """
    service.batch({f"doc-{n:02d}": f"Cats number {n} sleep all day." for n in range(30)})
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
    """Where any of the needles still is: files of the data folder and of the temporary one, or columns of Postgres."""
    where = [
        f"{path}: {needle[:20]!r}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for needle in needles
        if needle in path.read_bytes()
    ]
    if service.runtime.database.file is None:
        where += [
            f"{name}: {needle[:20]!r}" for name, value in _cells(service) for needle in needles if needle in value
        ]
    return where


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


def test_nothing_is_left_of_an_erased_document_and_the_rest_is_as_before(
    logging_service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = logging_service
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    service.post("/v1/docs/upsert", {**OTHER, "doc_id": "theirs", "text": "Ships of others sail."})
    needles = plant(service)
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
