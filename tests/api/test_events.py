"""/v1/events and ?wait: pages, streams that go on without a gap, and what they leave behind: nothing."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from api import sse
from domain import EventType, Scope
from event_log import record_events
from models import EventRow, Project, utc_now
from services.accounts.api_keys import id_of
from services.events import feed as feeds
from services.events import reading
from services.events.feed import EventFeed
from services.events.horizon import Horizon
from services.events.reading import EventFilter, EventReader
from tests.support.accounts import keyed, make_team
from tests.support.examples import is_thorough
from tests.support.processes import Api, api_process, until, worker_process
from tests.support.service import PLACE, Service

__all__ = ["keyed"]

FEW = 10
"""Connections to the database and threads that a process keeps for what comes next."""
STREAM = {"Accept": "text/event-stream"}
Line = tuple[str | None, str, dict[str, Any]]


def lines(answer: httpx.Response) -> Iterator[Line]:
    """The events of a stream: id, type, data."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if not line and "event" in fields:
            yield fields.get("id"), fields["event"], json.loads(fields["data"])
            fields = {}
        elif not line.startswith(":") and line:
            name, _, value = line.partition(": ")
            fields[name] = value


def stream_of(client: Any, path: str, last: str | None = None, **params: str) -> Any:
    headers = STREAM if last is None else {**STREAM, "Last-Event-ID": last}
    return client.stream("GET", path, params=params, headers=headers)


def page(service: Service, **params: Any) -> Any:
    return service.get("/v1/events", params)


def names(answer: Any) -> list[str]:
    return [each["data"]["doc_id"] for each in answer["data"] if "doc_id" in each["data"]]


def test_pages_lead_through_everything_and_then_on(service: Service) -> None:
    for name in ("a", "b", "c"):
        service.upsert(name, f"Cats sleep in {name}.")
    service.upsert("d", "Cats sleep in d.", namespace="other")
    first = page(service, limit=2)
    assert (names(first), first["has_more"]) == (["a", "b"], True)
    second = page(service, limit=2, after=first["next_cursor"])
    assert (names(second), second["has_more"]) == (["c", "d"], False)
    nothing = page(service, after=second["next_cursor"])
    assert nothing == {"data": [], "has_more": False, "next_cursor": second["next_cursor"]}
    service.delete("a")
    assert [each["type"] for each in page(service, after=nothing["next_cursor"])["data"]] == ["document.deleted"]
    assert names(page(service, namespace="other")) == ["d"]
    assert names(page(service, types="document.deleted, job.finished")) == ["a"]
    assert names(page(service, tenant_id="nobody")) == []


@pytest.mark.parametrize("headers", [{}, STREAM])
def test_nonsense_and_what_is_pruned_get_a_clear_answer(service: Service, headers: dict[str, str]) -> None:
    for name in ("a", "b", "c"):
        service.upsert(name, f"Cats sleep in {name}.")
    ids = [each["id"] for each in page(service)["data"]]
    with service.runtime.database.write() as session:
        old = update(EventRow).where(EventRow.number <= int(ids[1]))
        session.execute(old.values(created_at=utc_now() - timedelta(days=2)))
    service.runtime.events.reader.prune(1)
    get = service.client.get
    for nonsense in ("abc", "-1", "1.5", "", "9" * 30, "١٢"):
        last = {**headers, "Last-Event-ID": nonsense.encode()}
        problem = get("/v1/events", headers=last)  # type: ignore[arg-type]
        assert (problem.status_code, problem.json()["error"]["param"]) == (422, "Last-Event-ID"), problem.text
    for gone in (str(int(ids[0])), str(int(ids[2]) + 5)):
        problem = get("/v1/events", headers={**headers, "Last-Event-ID": gone})
        assert (problem.status_code, problem.json()["error"]["code"]) == (410, "gone")
    problem = get("/v1/events", params={"types": "document.indexed,document.lost"}, headers=headers)
    assert problem.status_code == 422 and "document.lost" in problem.json()["detail"]
    assert get("/v1/jobs/no-job/events", headers=headers).status_code == 404


def test_head_of_a_stream_ends(service: Service) -> None:
    assert service.client.head("/v1/events", headers=STREAM).status_code == 200


def test_the_stream_of_a_job_that_has_ended_says_how_and_ends(service: Service) -> None:
    job_id = service.batch({"a": "Cats sleep."}, async_mode=True)["job_id"]
    service.work()
    path = f"/v1/jobs/{job_id}/events"
    with stream_of(service.client, path, "0") as answer:
        got = list(lines(answer))
    assert [kind for _, kind, _ in got] == ["job", "document.indexed", "job.finished"]
    assert got[0][2]["outcome"] == got[2][2]["data"]["outcome"] == "completed"
    with stream_of(service.client, path, got[2][0]) as answer:
        assert [kind for _, kind, _ in lines(answer)] == ["job"]


def test_waiting_answers_when_the_job_has_ended_or_the_time_is_up(service: Service) -> None:
    docs = [{**PLACE, "doc_id": "a", "text": "Cats sleep."}]
    late = service.post("/v1/docs/upsert/batch?wait=true&timeout_seconds=0.1", {"docs": docs, "async_mode": True})
    assert late["job_outcome"] is None
    path = f"/v1/jobs/{late['job_id']}"
    assert service.get(path, {"wait": "true", "timeout_seconds": 0})["status"] == "pending"
    worker = Timer(0.5, service.work)
    worker.start()
    assert service.get(path, {"wait": "true"})["outcome"] == "completed"
    worker.join()
    worker = Timer(0.5, service.work)
    worker.start()
    upload = {"data": {**PLACE, "doc_id": "bad"}, "files": {"file": ("bad.pdf", b"%PDF-1.7 none")}}
    assert service.client.post("/v1/docs/upload?wait=true", **upload).json()["job_outcome"] == "failed"  # type: ignore[arg-type]
    worker.join()
    assert "job_outcome" not in service.batch({"b": "Dogs bark."}, async_mode=True)
    problem = service.client.get(path, params={"timeout_seconds": 3})
    assert (problem.status_code, problem.json()["error"]["param"]) == (422, "timeout_seconds")


def test_a_stream_ends_when_its_key_is_revoked(keyed: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.v1.events.CHECK_SECONDS", 0.0)
    team = make_team(keyed, "acme")
    key = team.keys[Scope.INGEST]
    key_id = str(id_of(key))
    monkeypatch.setattr(feeds, "LONGEST_SILENCE_SECONDS", 0.2)
    revoke = Timer(1, team.ask, ("DELETE", f"{team.own}/api-keys/{key_id}"))
    give_up = Timer(30, keyed.runtime.events.feed.close)
    for timer in (revoke, give_up):
        timer.start()
    headers = {**STREAM, "Authorization": f"Bearer {key}"}
    answer = keyed.client.get("/v1/events", headers=headers)
    give_up.cancel()
    assert answer.status_code == 200
    assert "event: error" in answer.text and "revoked" in answer.text
    revoke.join()


def test_the_stream_of_a_job_ends_with_the_erasure_of_its_namespace(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its last event comes or was erased already."""
    monkeypatch.setattr("api.v1.events.LATEST_EVENT_SECONDS", 0.5)
    monkeypatch.setattr(feeds, "LONGEST_SILENCE_SECONDS", 0.2)
    path = f"/v1/jobs/{service.batch({'a': 'Cats sleep.'}, async_mode=True)['job_id']}/events"

    def erase() -> None:
        namespace = f"/v1/teams/acme/projects/{PLACE['namespace']}"
        service.client.request("DELETE", namespace, json={"confirm_namespace": PLACE["namespace"]})
        service.work()

    erasing, give_up = Timer(0.5, erase), Timer(30, service.runtime.events.feed.close)
    for timer in (erasing, give_up):
        timer.start()
    with stream_of(service.client, path) as answer:
        got = list(lines(answer))
    assert not give_up.finished.is_set(), "the stream did not end by itself"
    give_up.cancel()
    erasing.join()
    assert [data["outcome"] for _, kind, data in got if kind == "job"] == [None, "cancelled"]


def test_a_page_ends_where_few_events_match_and_leads_on(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "EVENTS_PER_STEP", 2)
    monkeypatch.setattr("api.v1.events.STEPS_PER_PAGE", 2)
    service.batch({f"doc-{number}": f"Cats sleep in {number}." for number in range(6)})
    service.delete("doc-1")
    first = page(service, types="document.deleted")
    assert (first["data"], first["has_more"]) == ([], True)
    assert names(page(service, types="document.deleted", after=first["next_cursor"])) == ["doc-1"]


def test_a_client_that_is_cut_off_again_and_again_misses_nothing_at_two_processes(remote_service: Service) -> None:
    """Half of the time it goes on at the other process, with the last id that it saw."""
    expected = {f"doc-{number}" for number in range(60)}
    with api_process(remote_service.settings) as one, api_process(remote_service.settings) as other:
        start = one.get("/v1/events")["next_cursor"]
        writers = [Thread(target=_write, args=(api, part)) for part, api in enumerate((one, other))]
        for writer in writers:
            writer.start()
        seen, last = list[tuple[str, str]](), start
        for attempt in range(50):
            client = (one, other)[attempt % 2].client
            client.timeout = httpx.Timeout(10)  # shorter than the silence between two comments
            with stream_of(client, "/v1/events", last) as answer:
                for number, (event_id, _, data) in enumerate(lines(answer)):
                    last = str(event_id)
                    seen.append((last, data["data"]["doc_id"]))
                    if number >= attempt % 3 or len(seen) == len(expected):
                        break
            if len(seen) == len(expected):
                break
        for writer in writers:
            writer.join()
    ids = [int(event_id) for event_id, _ in seen]
    assert ids == sorted(set(ids))
    assert {name for _, name in seen} == expected


def _write(api: Api, part: int) -> None:
    with httpx.Client(base_url=api.client.base_url, timeout=60) as client:
        for number in range(part, 60, 2):
            doc = {**PLACE, "doc_id": f"doc-{number}", "chunks": [{"text": "cat", "vector": [1, number]}]}
            client.post("/v1/docs/upsert", json=doc).raise_for_status()


@pytest.mark.parametrize("remote_service", ["sqlite"], indirect=True)
def test_many_clients_that_never_read_cost_nothing_and_leave_nothing(remote_service: Service) -> None:
    """500 of them with HYPOTHESIS_PROFILE=thorough."""
    count = 500 if is_thorough() else 60
    changed = {"max_event_streams": count, "max_connections": count + 50}
    with (
        remote_service.restarted(**changed) as service,
        api_process(service.settings) as api,
        worker_process(service.settings),
    ):
        api.upsert("a", "Cats sleep.")
        before = _held(api)
        megabytes = list[int]()
        for attempt in range(3):
            with _silent_streams(api, count):
                until(lambda: _is_full(api), 60)
                job = api.batch({f"b{attempt}": f"Dogs bark {attempt} times."})
                assert api.client.get(f"/v1/jobs/{job}", params={"wait": "true"}).status_code == 503
                assert api.wait(job)["outcome"] == "completed"
            until(lambda: _held(api)[0] <= before[0] + FEW and _held(api)[1] <= before[1] + FEW, 30)
            megabytes.append(_resident_mb(api))
        assert megabytes[2] - megabytes[1] <= 8, megabytes
        with stream_of(api.client, "/v1/events", "0") as answer:
            assert next(lines(answer))[2]["data"]["doc_id"] == "a"
            started = time.monotonic()
            api.process.terminate()
            api.process.wait(30)
            assert time.monotonic() - started < 8, "an open stream keeps the process from stopping"


@contextmanager
def _silent_streams(api: Api, count: int) -> Iterator[None]:
    port = int(api.client.base_url.port or 0)
    with ExitStack() as opened:
        for _ in range(count):
            connection = opened.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
            connection.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        yield


def _is_full(api: Api) -> bool:
    """Never waits for the end of a stream that is not refused."""
    with stream_of(api.client, "/v1/events") as answer:
        if answer.status_code == 200:
            return False
        answer.read()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        assert "retry-after" in answer.headers
        return True


def _resident_mb(api: Api) -> int:
    pages = int(Path(f"/proc/{api.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def _held(api: Api) -> tuple[int, int]:
    """The descriptors and the threads of the process."""
    folder = Path(f"/proc/{api.process.pid}")
    return len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))


def test_a_client_that_takes_nothing_for_long_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "SEND_SECONDS", 0.05)
    is_cut_off = asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        while True:
            yield b": more than the connection holds"

    async def receive() -> Any:
        await is_cut_off.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        await asyncio.Event().wait()

    scope = {"type": "http", "state": {"abort_connection": is_cut_off.set}}
    asyncio.run(asyncio.wait_for(sse.EndlessEventStream(pieces())(scope, receive, send), 10))
    assert is_cut_off.is_set()


def test_a_follower_that_is_behind_reads_the_database_and_then_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes nothing while far more happens than the feed remembers."""
    monkeypatch.setattr(feeds, "MOST_RECENT", 3)
    monkeypatch.setattr(feeds, "EVENTS_PER_BATCH", 4)
    monkeypatch.setattr(feeds, "POLL_SECONDS", 0.01)
    service.upsert("first", "Cats sleep.")
    database = service.runtime.database
    with database.read() as session:
        project = session.get_one(Project, (1, 1))
    feed = EventFeed(EventReader(database, Horizon(database)), most_followers=1)

    def note(number: int) -> None:
        with database.write() as session:
            data = [{"doc_id": f"doc-{number}"}]
            record_events(session, EventType.DOCUMENT_INDEXED, team_id=1, project_id=project.id, data=data)

    async def follow() -> list[str]:
        seen: list[str] = []
        async with feed.following() as place:
            batches = feed.batches(EventFilter(), place)
            assert (await anext(batches)).events == []
            for number in range(20):
                await asyncio.to_thread(note, number)
            while feed.position < place + 20:
                await asyncio.sleep(0.01)
            async for batch in batches:
                seen += [str(event.data["doc_id"]) for event in batch.events]
                if len(seen) >= 20:
                    break
            await batches.aclose()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return seen

    assert asyncio.run(follow()) == [f"doc-{number}" for number in range(20)]
    feed.shut_down()
