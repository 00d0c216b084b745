"""Webhooks: what is sent, signed, retried and refused, and what a receiver can do to the service: nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from domain import EventType
from event_log import record_events
from models import EventRow, Webhook, WebhookDelivery, utc_now
from services.webhooks import outbox as outboxes
from tests.support.processes import until
from tests.support.receiver import Message, Receiver, answering, receiving
from tests.support.service import PLACE, Service

PATH = "/v1/webhooks"
OTHER = {"tenant_id": "globex", "namespace": "project_001"}


@pytest.fixture
def hooked(service: Service) -> Iterator[Service]:
    with service.restarted(
        fetch_allow_hosts="127.0.0.1", webhook_retry_seconds=0.01, webhook_timeout_seconds=5
    ) as hooked:
        hooked.upsert("first", "Cats sleep.")
        yield hooked


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def create(service: Service, url: str, *, expect: int = 201, **more: Any) -> Any:
    return service.post(PATH, {"tenant_id": PLACE["tenant_id"], "url": url, **more}, expect=expect)


def deliver(service: Service) -> int:
    return service.runtime.events.webhooks.courier.deliver_due()


def deliver_all(service: Service, hook: Any) -> None:
    """Until nothing is pending any more: pauses are short here."""

    def is_done() -> bool:
        deliver(service)
        return not deliveries(service, hook, status="pending")

    until(is_done, 30)


def deliveries(service: Service, hook: Any, **params: Any) -> Any:
    return service.get(f"{PATH}/{hook['webhook_id']}/deliveries", params)["data"]


def status_of(service: Service, hook: Any) -> str:
    return str(service.get(f"{PATH}/{hook['webhook_id']}")["status"])


def verify(message: Message, secret: str) -> Any:
    return Verifier(secret).verify(message.body, dict(message.headers))


def test_each_event_is_sent_once_in_order_signed_and_without_texts(hooked: Service, receiver: Receiver) -> None:
    hook = create(hooked, receiver.url)
    assert hook["secret"].startswith("whsec_") and "secret" not in hooked.get(f"{PATH}/{hook['webhook_id']}")
    hooked.batch({"a": "Cats sleep.", "b": "Dogs bark."}, async_mode=True)
    hooked.work()
    hooked.delete("a")
    hooked.post("/v1/docs/upsert", {**OTHER, "doc_id": "theirs", "text": "Ships sail."})
    deliver(hooked)
    assert deliver(hooked) == 0
    bodies = [verify(message, hook["secret"]) for message in receiver.messages]
    assert [each["type"] for each in bodies] == [
        *("document.indexed", "document.indexed", "job.finished", "document.deleted"),
    ]
    events = hooked.get("/v1/events", {"tenant_id": PLACE["tenant_id"], "after": "1"})["data"]
    for body, event in zip(bodies, events, strict=True):
        place = {"event_id": event["id"], "tenant_id": event["tenant_id"], "namespace": event["namespace"]}
        assert body["data"] == {**place, **event["data"]}
        assert body == {"type": event["type"], "timestamp": body["timestamp"], "data": body["data"]}
        assert datetime.fromisoformat(body["timestamp"]) == datetime.fromisoformat(event["timestamp"])
    assert len({message.id for message in receiver.messages}) == 4
    listed = deliveries(hooked, hook)
    assert [(each["status"], each["answer_status"], each["attempts"]) for each in listed] == [("delivered", 204, 1)] * 4
    assert [each["message_id"] for each in reversed(listed)] == [message.id for message in receiver.messages]


def test_a_webhook_gets_its_types_its_namespace_and_its_own_test(hooked: Service, receiver: Receiver) -> None:
    deleted = create(hooked, f"{receiver.url}-deleted", events=["document.deleted"])
    hooked.upsert("there", "Cats sleep.", namespace="other")
    elsewhere = create(hooked, f"{receiver.url}-elsewhere", namespace="other")
    hooked.delete("first")
    hooked.upsert("here", "Cats are here.")
    hooked.upsert("there", "Cats are there.", namespace="other")
    hooked.post(f"{PATH}/{deleted['webhook_id']}/test", {}, expect=202)
    deliver(hooked)
    got = [(message.path, message.json["type"], message.json["data"].get("doc_id")) for message in receiver.messages]
    assert sorted(got, key=str) == [
        ("/hook-deleted", "document.deleted", "first"),
        ("/hook-deleted", "webhook.test", None),
        ("/hook-elsewhere", "document.indexed", "there"),
    ]
    assert elsewhere["namespace"] == "other"
    assert [each["webhook_id"] for each in hooked.get(PATH, {"tenant_id": "globex"})["data"]] == []


def test_what_fails_is_tried_again_with_the_same_id_until_it_is_taken(hooked: Service, receiver: Receiver) -> None:
    hook = create(hooked, receiver.url)
    receiver.answer = answering(500, b"Nothing works today.")
    hooked.upsert("a", "Cats sleep.")
    deliver(hooked)
    [failed] = deliveries(hooked, hook)
    assert (failed["status"], failed["answer_status"]) == ("pending", 500)
    assert failed["answer_excerpt"] == "Nothing works today."
    assert status_of(hooked, hook) == "failing" and failed["next_attempt_at"] is not None
    receiver.answer = answering(204)
    deliver_all(hooked, hook)
    assert len(receiver.messages) >= 2 and len({(each.id, each.body) for each in receiver.messages}) == 1
    assert [verify(each, hook["secret"])["type"] for each in receiver.messages][-1] == "document.indexed"
    assert status_of(hooked, hook) == "active"


def test_a_rotated_secret_signs_beside_the_new_one_for_a_while(hooked: Service, receiver: Receiver) -> None:
    hook = create(hooked, receiver.url)
    path = f"{PATH}/{hook['webhook_id']}/rotate"
    new = hooked.post(path, {}, expect=201)
    hooked.upsert("a", "Cats sleep.")
    deliver(hooked)
    for secret in (hook["secret"], new["secret"]):
        verify(receiver.messages[0], secret)
    newest = hooked.post(path, {"overlap_seconds": 0}, expect=201)
    hooked.upsert("b", "Dogs bark.")
    deliver(hooked)
    verify(receiver.messages[1], newest["secret"])
    for secret in (hook["secret"], new["secret"]):
        with pytest.raises(WebhookVerificationError):
            verify(receiver.messages[1], secret)
    actions = [row["action"] for row in hooked.get("/v1/audit", {"tenant_id": "acme"})["data"]]
    assert actions[:3] == ["webhook.rotated", "webhook.rotated", "webhook.created"]


def test_a_redirect_is_not_followed_and_gone_disables(hooked: Service, receiver: Receiver) -> None:
    hook, other = create(hooked, receiver.url), create(hooked, f"{receiver.url}-other", events=["webhook.disabled"])
    receiver.answer = answering(301, Location=f"http://127.0.0.1:{receiver.port}/elsewhere")
    hooked.upsert("a", "Cats sleep.")
    deliver(hooked)
    assert {message.path for message in receiver.messages} == {"/hook"}
    assert deliveries(hooked, hook)[0]["answer_status"] == 301
    receiver.answer = answering(410)
    until(lambda: deliver(hooked) > 0)
    shown = hooked.get(f"{PATH}/{hook['webhook_id']}")
    assert (shown["status"], shown["disabled_because"]) == ("disabled", "gone")
    assert hooked.get("/v1/health")["warnings"] == [
        "Disabled webhooks whose receivers failed: 1. GET /v1/webhooks shows them."
    ]
    receiver.answer = answering(204)
    deliver(hooked)
    assert receiver.messages[-1].json["data"]["webhook_id"] == hook["webhook_id"]
    assert receiver.messages[-1].path == "/hook-other" and status_of(hooked, other) == "active"
    sent = len(receiver.messages)
    hooked.upsert("b", "Dogs bark.")
    hooked.post(f"{PATH}/{hook['webhook_id']}/test", {}, expect=409)
    deliver(hooked)
    assert len(receiver.messages) == sent
    hooked.client.patch(f"{PATH}/{hook['webhook_id']}", json={"enabled": True}).raise_for_status()
    hooked.upsert("c", "Owls hoot.")
    deliver(hooked)
    assert [message.json["data"]["doc_id"] for message in receiver.messages[sent:]] == ["c"]
    assert hooked.get("/v1/health")["warnings"] == []


def test_retry_after_is_obeyed_as_seconds_and_as_a_date(hooked: Service, receiver: Receiver) -> None:
    hook = create(hooked, receiver.url)
    date = (datetime.now(UTC) + timedelta(seconds=3600)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    for doc, value in (("a", "3600"), ("b", date)):
        receiver.answer = answering(503, Retry_After=value)
        hooked.upsert(doc, f"Cats sleep in {doc}.")
        with hooked.runtime.database.write() as session:
            session.execute(update(Webhook).values(due_at=None))
        assert deliver(hooked) == 1
        next_at = datetime.fromisoformat(deliveries(hooked, hook)[0]["next_attempt_at"])
        assert 3500 < (next_at - datetime.now(UTC)).total_seconds() < 3700
    assert deliver(hooked) == 0


def test_a_delivery_fails_after_the_last_try_and_a_receiver_that_fails_for_days_is_disabled(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer = answering(500)
    with service.restarted(fetch_allow_hosts="127.0.0.1", webhook_retry_seconds=1e-7) as hooked:
        hooked.upsert("first", "Cats sleep.")
        hook = create(hooked, receiver.url)
        hooked.upsert("a", "Cats sleep long.")
        deliver_all(hooked, hook)
        assert (deliveries(hooked, hook)[0]["status"], len(receiver.messages)) == ("failed", 10)
        monkeypatch.setattr(outboxes, "LONGEST_FAILING", timedelta())
        hooked.upsert("b", "Dogs bark.")
        until(lambda: deliver(hooked) > 0)
        assert hooked.get(f"{PATH}/{hook['webhook_id']}")["disabled_because"] == "failing"
        assert "webhook.disabled" in [each["type"] for each in hooked.get("/v1/events")["data"]]


def test_what_failed_or_is_wanted_again_is_replayed_with_the_same_ids(hooked: Service, receiver: Receiver) -> None:
    hook = create(hooked, receiver.url)
    for name in ("a", "b", "c"):
        hooked.upsert(name, f"Cats sleep in {name}.")
    deliver(hooked)
    ids = [message.id for message in receiver.messages]
    path = f"{PATH}/{hook['webhook_id']}/replay"
    first, second = receiver.messages[0].number, receiver.messages[1].number
    hooked.post(path, {"event_id": str(second)}, expect=202)
    deliver(hooked)
    hooked.post(path, {"after": str(first)}, expect=202)
    deliver(hooked)
    assert [message.id for message in receiver.messages[3:]] == [ids[1], *ids[1:]]
    with hooked.runtime.database.write() as session:
        session.execute(update(WebhookDelivery).where(WebhookDelivery.number == first).values(status="failed"))
    hooked.post(path, {}, expect=202)
    deliver(hooked)
    assert [message.id for message in receiver.messages[6:]] == [ids[0]]
    assert hooked.post(path, {"event_id": "99999"}, expect=404)["error"]["param"] == "event_id"
    hooked.post(path, {"after": "99999"}, expect=410)
    hooked.post(path, {"after": "1", "event_id": "1"}, expect=422)


@pytest.mark.parametrize(
    "url",
    [
        *("http://169.254.169.254/latest", "http://10.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/"),
        *("http://localhost/", "ftp://example.org/", "http://user:pw@example.org/", "nonsense", "http://"),
    ],
)
def test_a_url_that_leads_inside_or_nowhere_is_refused(shared_service: Service, url: str) -> None:
    shared_service.upsert("first", "Cats sleep.")
    assert create(shared_service, url, expect=422)["error"]["param"] == "url"


def test_a_name_that_leads_inside_later_is_refused_at_every_try(
    hooked: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: harmless when the webhook is made, loopback when it is called."""
    addresses = ["93.184.216.34"]

    def resolve(_host: str, port: int, **_: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (addresses[0], port))]

    monkeypatch.setattr("engines.web.guard.socket.getaddrinfo", resolve)
    hook = create(hooked, f"http://rebind.example:{receiver.port}/hook")
    addresses[0] = "169.254.169.254"
    hooked.upsert("a", "Cats sleep.")
    deliver(hooked)
    [refused] = deliveries(hooked, hook)
    assert refused["status"] == "pending" and "no public address" in refused["error"]
    assert receiver.messages == []


def test_an_endless_answer_is_cut_and_a_body_that_hangs_is_no_failure(hooked: Service, receiver: Receiver) -> None:
    hook = create(hooked, receiver.url)
    enough = Event()

    def endless(handler: BaseHTTPRequestHandler, _message: Message) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(10 << 30))
        handler.end_headers()
        try:
            while not enough.is_set():
                handler.wfile.write(b"x" * 65_536)
        except OSError:
            enough.set()

    receiver.answer = endless
    hooked.upsert("a", "Cats sleep.")
    deliver(hooked)
    assert enough.wait(10), "the connection stays open"
    [delivered] = deliveries(hooked, hook)
    assert (delivered["status"], delivered["answer_excerpt"]) == ("delivered", "x" * 1024)


def test_a_receiver_that_hangs_keeps_neither_others_nor_jobs_waiting(service: Service) -> None:
    answer_now = Event()

    def hang(handler: BaseHTTPRequestHandler, message: Message) -> None:
        answer_now.wait(20)
        answering(204)(handler, message)

    changed = {"fetch_allow_hosts": "127.0.0.1", "webhook_timeout_seconds": 15}
    with service.restarted(**changed) as hooked, receiving(hang) as hanging, receiving() as receiver:
        hooked.upsert("first", "Cats sleep.")
        for number in range(6):
            create(hooked, f"{hanging.url}-{number}")
            create(hooked, f"{receiver.url}-{number}") if number == 0 else None
        with hooked.runtime.events.webhooks.courier.running():
            hooked.upsert("a", "Cats sleep long.")
            until(lambda: len(hanging.messages) >= 3, 10)
            job_id = hooked.batch({"b": "Dogs bark."}, async_mode=True)["job_id"]
            hooked.work()
            assert hooked.job(job_id)["outcome"] == "completed"
            until(lambda: len(receiver.messages) >= 1, 10)
            answer_now.set()
            until(lambda: len(receiver.messages) == 3, 20)
    assert [message.json["type"] for message in receiver.messages] == [
        *("document.indexed", "document.indexed", "job.finished"),
    ]


def test_whoever_lost_a_lease_records_nothing_and_the_next_sends_the_same_again(
    hooked: Service, receiver: Receiver
) -> None:
    hook = create(hooked, receiver.url)
    hooked.upsert("a", "Cats sleep.")
    outbox = hooked.runtime.events.webhooks.outbox
    slow = outbox.claim(outbox.horizon.settled(), are_failing=False)
    assert slow is not None
    assert outbox.claim(outbox.horizon.settled(), are_failing=False) is None, "one at a time"
    with hooked.runtime.database.write() as session:
        session.execute(update(Webhook).values(lease_until=0.0))
    deliver(hooked)
    assert hooked.runtime.events.webhooks.courier.delivering.serve(slow, Event()) == 0
    assert [each["attempts"] for each in deliveries(hooked, hook)] == [1]


def test_an_erased_document_is_named_to_nobody_any_more(hooked: Service, receiver: Receiver) -> None:
    hook = create(hooked, receiver.url)
    receiver.answer = answering(500, b"I know secret-doc.")
    hooked.upsert("secret-doc", "Cats sleep.")
    hooked.upsert("kept", "Dogs bark.")
    deliver(hooked)
    hooked.post("/v1/erasures", {**PLACE, "doc_ids": ["secret-doc"]}, expect=202)
    hooked.work()
    receiver.answer = answering(204)
    sent = len(receiver.messages)
    deliver_all(hooked, hook)
    assert "secret-doc" not in str([message.body for message in receiver.messages[sent:]])
    assert {message.json["type"] for message in receiver.messages[sent:]} >= {"document.indexed", "erasure.finished"}
    listed = deliveries(hooked, hook)
    assert "secret-doc" not in str(listed) and "dropped" in {each["status"] for each in listed}
    hooked.client.request("DELETE", "/v1/teams/acme", json={"confirm_tenant_id": "acme"}).raise_for_status()
    hooked.work()
    assert hooked.get(PATH)["data"] == []


def test_events_that_a_webhook_has_not_had_are_kept_for_it(hooked: Service, receiver: Receiver) -> None:
    receiver.answer = answering(500)
    hook = create(hooked, receiver.url)
    for name in ("a", "b"):
        hooked.upsert(name, f"Cats sleep in {name}.")
    deliver(hooked)
    with hooked.runtime.database.write() as session:
        session.execute(update(EventRow).values(created_at=utc_now() - timedelta(days=30)))
    hooked.upsert("c", "Cats sleep in c.")
    hooked.worker.housekeeping._prune_events()
    with hooked.runtime.database.read() as session:
        kept = [row.data["doc_id"] for row in session.scalars(select(EventRow).order_by(EventRow.number))]
    assert kept == ["a", "b", "c"]
    receiver.answer = answering(204)
    deliver_all(hooked, hook)
    assert {message.json["data"]["doc_id"] for message in receiver.messages} == {"a", "b", "c"}
    hooked.worker.housekeeping._prune_events()
    assert len(hooked.get("/v1/events")["data"]) == 1


def test_what_happens_while_a_receiver_is_away_waits_in_the_database_and_comes_in_order(
    hooked: Service, receiver: Receiver
) -> None:
    """It is asked seldom while it fails."""
    hook = create(hooked, receiver.url)
    receiver.answer = answering(500)
    with hooked.runtime.database.write() as session:
        row = session.scalars(select(Webhook)).one()
        data = [{"doc_id": f"doc-{number:05}"} for number in range(500)]
        record_events(session, EventType.DOCUMENT_INDEXED, team_id=row.team_id, project_id=None, data=data)
    deliver(hooked)
    assert len(receiver.messages) < 20
    receiver.answer = answering(204)
    tried = len(receiver.messages)
    deliver_all(hooked, hook)
    got = [message.json["data"]["doc_id"] for message in receiver.messages]
    assert {*got} == {each["doc_id"] for each in data}
    first_tries = list(dict.fromkeys(got))
    assert first_tries == sorted(first_tries) and len(got) <= 500 + 2 * tried
    assert len(deliveries(hooked, hook, limit=1000)) == 500


def test_a_tenant_has_a_limited_number_of_webhooks(hooked: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.webhooks.hooks.MOST_WEBHOOKS", 1)
    hook = create(hooked, "http://127.0.0.1:9/")
    assert "at most 1" in create(hooked, "http://127.0.0.1:9/", expect=409)["detail"]
    assert hooked.client.delete(f"{PATH}/{hook['webhook_id']}").json()["url"] == hook["url"]
    create(hooked, "http://127.0.0.1:9/")
