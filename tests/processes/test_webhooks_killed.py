"""Webhooks with receiver and workers killed at random: no event is lost, and what comes twice has the same id."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from random import Random
from threading import Event, Thread

from sqlalchemy import select
from standardwebhooks import Webhook as Verifier

from domain import EventType
from event_log import record_events
from models import Project
from tests.support.examples import is_thorough
from tests.support.postgres import free_port
from tests.support.processes import until, worker_process
from tests.support.receiver import Message, answering, receiving
from tests.support.service import PLACE, Service


def test_every_event_arrives_although_receiver_and_workers_are_killed(remote_service: Service) -> None:
    """1,000 events with HYPOTHESIS_PROFILE=thorough."""
    count, random, port = 1000 if is_thorough() else 40, Random(48), free_port()
    changed = {
        "fetch_allow_hosts": "127.0.0.1",
        "webhook_retry_seconds": 0.002,
        "webhook_timeout_seconds": 0.5,
        "job_lease_seconds": 0.5,
    }
    with remote_service.restarted(**changed) as service:
        service.post("/v1/docs/upsert", {**PLACE, "doc_id": "first", "chunks": [{"text": "cat", "vector": [1, 0]}]})
        hook = service.post(
            "/v1/webhooks", {"tenant_id": PLACE["tenant_id"], "url": f"http://127.0.0.1:{port}/hook"}, expect=201
        )
        received: list[Message] = []
        is_over = Event()
        with _in_background(
            is_over,
            lambda: _happen(service, count, random, is_over),
            lambda: _receive(port, received, random, is_over),
            lambda: _work(service, received, random, is_over),
        ):
            until(lambda: len({message.id for message in received}) == count, 400 if is_thorough() else 90, pause=0.2)
            until(lambda: not _deliveries(service, hook, "pending"), 60, pause=0.2)
        delivered = _deliveries(service, hook, "delivered")
        events = service.get("/v1/events", {"after": "1", "limit": 1000})["data"]
    assert len(delivered) == count
    _require_all(received, events, hook["secret"])


def _require_all(received: list[Message], events: list[dict[str, object]], secret: str) -> None:
    """Each at least once, each time the same, and their numbers give the order in which they happened."""
    by_id = {message.id: message for message in received}
    for message in received:
        assert message.body == by_id[message.id].body
        Verifier(secret).verify(message.body, dict(message.headers))
    in_order = sorted(by_id.values(), key=lambda message: message.number)
    assert [message.json["data"]["doc_id"] for message in in_order] == [
        event["data"]["doc_id"]  # type: ignore[index]
        for event in events
    ]


@contextmanager
def _in_background(is_over: Event, *runs: Callable[[], None]) -> Iterator[None]:
    threads = [Thread(target=run) for run in runs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def _happen(service: Service, count: int, random: Random, is_over: Event) -> None:
    """Transactions of a few events each, one of which in ten is rolled back."""
    database, done = service.runtime.database, 0
    with database.read() as session:
        project = session.scalars(select(Project)).one()
    while done < count and not is_over.is_set():
        some = min(count - done, random.randint(1, 5))
        is_kept = random.random() > 0.1
        data = [{"doc_id": f"doc-{number}" if is_kept else "never"} for number in range(done, done + some)]
        try:
            with database.write() as session:
                key = {"team_id": project.team_id, "project_id": project.id}
                record_events(session, EventType.DOCUMENT_INDEXED, **key, data=data)
                if not is_kept:
                    raise InterruptedError
        except InterruptedError:
            continue
        done += some
        time.sleep(0.005)


def _receive(port: int, received: list[Message], random: Random, is_over: Event) -> None:
    """Is away now and then, and fails now and then, also after it has taken a message."""

    def take(handler: BaseHTTPRequestHandler, message: Message) -> None:
        status = 204 if random.random() < 0.9 else random.choice([500, 503])
        if status == 204 or random.random() < 0.5:
            received.append(message)
        answering(status)(handler, message)

    while not is_over.is_set():
        with receiving(take, port=port):
            is_over.wait(random.uniform(0.3, 1.5))
        is_over.wait(random.uniform(0, 0.3))


def _work(service: Service, received: list[Message], random: Random, is_over: Event) -> None:
    """Two workers, each killed and started again, at any instruction: once it has had time to deliver something."""
    with ExitStack() as running:
        workers = [running.enter_context(worker_process(service.settings)) for _ in range(2)]
        while not is_over.is_set():
            enough = len(received) + random.randint(5, 15) * (5 if is_thorough() else 1)
            while len(received) < enough and not is_over.is_set():
                is_over.wait(0.01)
            is_over.wait(random.uniform(0, 0.05))
            if not is_over.is_set():
                workers.pop(random.randrange(2)).kill()
                workers.append(running.enter_context(worker_process(service.settings)))


def _deliveries(service: Service, hook: dict[str, str], status: str) -> list[object]:
    path = f"/v1/webhooks/{hook['webhook_id']}/deliveries"
    return list(service.get(path, {"status": status, "limit": 1000})["data"])
