"""The log of events: what is recorded, in whose transaction, and in which order it can be read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from domain import EventType
from errors import Gone
from event_log import record_events
from models import EventRow, Project, utc_now
from services.events import reading
from services.events.horizon import Horizon
from services.events.reading import EventFilter, EventReader, RecordedEvent
from tests.support.service import PLACE, Service, pgvector_alone


def reader_of(service: Service) -> EventReader:
    """As a new process has it."""
    return EventReader(service.runtime.database, Horizon(service.runtime.database))


def events(service: Service, after: int = 0, **event_filter: Any) -> list[RecordedEvent]:
    reader = reader_of(service)
    until = reader.horizon.settled()
    return reader.page(EventFilter(**event_filter), after=after, until=until, limit=10_000)[0]


def named(service: Service, **event_filter: Any) -> list[tuple[str, str]]:
    return [
        (each.type.value, str(each.data.get("doc_id", each.data.get("type"))))
        for each in events(service, **event_filter)
    ]


def note(session: Any, project: Project, name: str) -> None:
    record_events(
        session, EventType.DOCUMENT_INDEXED, team_id=project.team_id, project_id=project.id, data=[{"doc_id": name}]
    )


def the_project(service: Service) -> Project:
    with service.runtime.database.read() as session:
        return session.scalars(select(Project)).one()


def test_documents_and_jobs_record_what_happens_to_them(service: Service) -> None:
    service.upsert("a", "Cats sleep.")
    service.upsert("a", "Cats sleep.")
    service.upsert("a", "Cats sleep.", metadata={"year": 2020})
    job_id = service.batch({"b": "Dogs bark.", "c": "Mice squeak."}, async_mode=True)["job_id"]
    service.work()
    service.delete("b")
    service.post("/v1/docs/delete", {**PLACE, "filters": {"doc_id": "c"}}, expect=202)
    service.work()
    assert [each for each in named(service) if each[1] != "rebuild_index"] == [
        ("document.indexed", "a"),
        ("document.indexed", "a"),
        ("document.indexed", "b"),
        ("document.indexed", "c"),
        ("job.finished", "ingest_docs"),
        ("document.deleted", "b"),
        ("document.deleted", "c"),
        ("job.finished", "delete_docs"),
    ]
    assert ("job.finished", "rebuild_index") in named(service)
    assert [each.data.get("doc_id") for each in events(service, job_id=job_id)] == ["b", "c", None]
    first = events(service)[0]
    assert (first.tenant_id, first.namespace) == (PLACE["tenant_id"], PLACE["namespace"])
    assert first.data == {"doc_id": "a", "revision": 1, "seq": first.data["seq"], "chunks": 1, "job_id": None}
    seqs = [each.data["seq"] for each in events(service) if "seq" in each.data]
    assert seqs == sorted(seqs)


def test_what_fails_is_recorded_document_by_document_and_so_is_the_jobs_end(service: Service) -> None:
    bad = {"file": ("bad.pdf", b"%PDF-1.7 no pdf at all", "application/pdf")}
    service.client.post("/v1/docs/upload", data={**PLACE, "doc_id": "bad"}, files=bad).raise_for_status()
    service.work()
    waiting = service.batch({"a": "Cats sleep.", "b": "Dogs bark."}, async_mode=True)["job_id"]
    for _ in range(2):
        service.post(f"/v1/jobs/{waiting}/cancel", {})
    failed = events(service, types=frozenset([EventType.DOCUMENT_FAILED]))
    assert [each.data["doc_id"] for each in failed] == ["bad", "a", "b"]
    assert failed[0].data["error"] == service.doc("bad")["error"]
    ended = events(service, types=frozenset([EventType.JOB_FINISHED]))
    assert [each.data["outcome"] for each in ended] == ["failed", "cancelled"]
    assert ended[1].data == {"job_id": waiting, "type": "ingest_docs", "outcome": "cancelled"}


def test_what_is_rolled_back_was_never_recorded(service: Service) -> None:
    service.upsert("a", "Cats sleep.")
    project = the_project(service)
    with pytest.raises(RuntimeError), service.runtime.database.write() as session:
        note(session, project, "lost")
        raise RuntimeError
    service.upsert("b", "Dogs bark.")
    assert [name for _, name in named(service)] == ["a", "b"]


def test_an_erasure_takes_documents_out_of_events_and_says_that_it_is_done(service: Service) -> None:
    """Also out of the newest event, whose number is not given again; what was stored after it keeps its events."""
    service.upsert("secret", "Cats sleep.")
    service.upsert("kept", "Dogs bark.")
    service.upsert("secret", "Cats sleep long.")
    newest = events(service)[-1].number
    erasure_id = service.post("/v1/erasures", {**PLACE, "doc_ids": ["secret"]}, expect=202)["erasure_id"]
    service.upsert("secret", "Cats are back.")
    service.work()
    kept = [each for each in named(service) if each[0].startswith("document")]
    assert kept == [("document.indexed", "kept"), ("document.indexed", "secret")]
    [done] = events(service, types=frozenset([EventType.ERASURE_FINISHED]))
    assert done.number > newest and done.namespace is None
    receipt = service.get(f"/v1/erasures/{erasure_id}")["receipt"]
    assert done.data == {"erasure_id": erasure_id, "kind": "documents", "receipt": receipt["number"]}
    assert {each["store"]: each["erased"] for each in receipt["stores"]}["events"] == 3


@pgvector_alone
def test_an_event_that_commits_late_is_not_passed_by(service: Service) -> None:
    """The second writer takes the larger number and commits first."""
    service.upsert("a", "Cats sleep.")
    project, database, reader = the_project(service), service.runtime.database, reader_of(service)
    place = reader.horizon.settled()
    seen: list[str] = []

    def read_on() -> list[str]:
        nonlocal place
        page, place = reader.page(EventFilter(), after=place, until=reader.horizon.advance(), limit=100)
        seen.extend(each.data["doc_id"] for each in page)
        return seen

    with database.write() as slow:
        note(slow, project, "slow")
        assert reader.horizon.advance() == place, "nothing has been committed since it began"
        with database.write() as fast:
            note(fast, project, "fast")
        for _ in range(3):
            assert read_on() == []
        other = reader_of(service)
        assert other.page(EventFilter(), after=place, until=other.horizon.advance(), limit=100)[0] == []
        with database.write() as third:
            note(third, project, "third")
    reader.horizon.settled()
    assert read_on() == ["slow", "fast", "third"]


def test_old_events_go_and_whoever_follows_from_there_learns_of_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "EVENTS_PER_STEP", 2)
    for name in ("a", "b", "c", "d", "e"):
        service.upsert(name, f"Cats sleep in {name}.")
    numbers, reader = [each.number for each in _all(service)], reader_of(service)
    assert reader.prune(1) == 0
    with service.runtime.database.write() as session:
        old = update(EventRow).where(EventRow.number <= numbers[3])
        session.execute(old.values(created_at=utc_now() - timedelta(days=2)))
    assert reader.prune(1) == 4
    for kept in (0, numbers[3], numbers[4]):
        reader.require_kept(kept)
    with pytest.raises(Gone, match="EVENTS_KEEP_DAYS"):
        reader.require_kept(numbers[1])
    with pytest.raises(Gone, match="the newest is"):
        reader.require_kept(numbers[4] + 1)
    with service.runtime.database.write() as session:
        session.execute(update(EventRow).values(created_at=utc_now() - timedelta(days=2)))
    assert reader.prune(1) == 0, "numbers go on from the newest event, so it stays"
    service.upsert("f", "Cats sleep in f.")
    assert [each.number > numbers[4] for each in _all(service)] == [False, True]


def _all(service: Service) -> list[RecordedEvent]:
    """Page by page, of which each examines a few events."""
    reader, collected, place = reader_of(service), list[RecordedEvent](), 0
    until = reader.horizon.settled()
    while place < until:
        page, place = reader.page(EventFilter(), after=place, until=until, limit=1)
        collected += page
    return collected
