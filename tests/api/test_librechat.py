"""LibreChat's RAG API, called as LibreChat calls it: with tokens of its users, and forms with files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from tests.support import files
from tests.support.service import Service, open_service, settings_in

SECRET = "0123456789abcdef" * 4
TENANT, NAMESPACE = "chatters", "their-files"
BASE = "/v1/librechat"
CATS, DOGS = b"Cats sleep all day long in the sun.", b"Dogs bark at the postman every morning."


def token(user: Any = "anna", *, secret: str = SECRET, algorithm: str = "HS256", **more: Any) -> dict[str, str]:
    claims = {"id": user, "exp": int(time.time()) + 300, **more}
    claims = {name: value for name, value in claims.items() if value is not None}
    return {"Authorization": f"Bearer {jwt.encode(claims, secret, algorithm=algorithm)}"}


ANNA, BERT = token("anna"), token("bert")


@pytest.fixture
def chat(tmp_path: Path, database_url: str) -> Iterator[Service]:
    """With a worker that runs all the time."""
    used = settings_in(
        tmp_path,
        database_url=database_url,
        librechat_jwt_secret=SecretStr(SECRET),
        librechat_tenant_id=TENANT,
        librechat_namespace=NAMESPACE,
        auth_failures_per_minute=0,
    )
    with open_service(used) as service:
        stopped = Event()
        worker = Thread(target=lambda: [service.work() for _ in iter(lambda: stopped.wait(0.02), True)])
        worker.start()
        yield service
        stopped.set()
        worker.join()


def embed(service: Service, file_id: str, content: bytes, headers: Any = ANNA, **more: Any) -> Any:
    fields = {"file_id": file_id, "storage_metadata": "{}", **more}
    sent = {"file": ("uploads/anna/notes.txt", content, "text/plain")}
    return service.client.post(f"{BASE}/embed", data=fields, files=sent, headers=headers)


def query(service: Service, file_id: str, headers: Any = ANNA, **more: Any) -> Any:
    body = {"file_id": file_id, "query": "What do cats do?", "k": 5, **more}
    answer = service.client.post(f"{BASE}/query", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def delete(service: Service, *file_ids: str, headers: Any = ANNA) -> Any:
    return service.client.request("DELETE", f"{BASE}/documents", json=list(file_ids), headers=headers)


def context(service: Service, file_id: str, headers: Any = ANNA) -> Any:
    return service.client.get(f"{BASE}/documents/{file_id}/context", headers=headers)


def test_a_file_is_searchable_when_its_upload_is_answered_and_gone_when_its_deletion_is(chat: Service) -> None:
    assert chat.client.get(f"{BASE}/health").json() == {"status": "UP"}
    answer = embed(chat, "f1", CATS)
    assert answer.status_code == 200, answer.text
    stored = {"file_id": "f1", "filename": "notes.txt", "known_type": True}
    assert answer.json() == {"status": True, "message": "File processed successfully.", **stored}
    [[passage, distance]] = query(chat, "f1")
    assert passage["page_content"] == CATS.decode() and 0 < distance < 0.6
    shown = passage["metadata"]
    assert (shown["source"].split("/")[-1], shown["file_id"], shown["user_id"]) == ("notes.txt", "f1", "anna")
    assert len(shown["digest"]) == 64
    assert context(chat, "f1").text == CATS.decode()
    assert embed(chat, "f1", CATS).status_code == 200
    assert embed(chat, "f1", DOGS).status_code == 200
    assert [each["page_content"] for each, _ in query(chat, "f1")] == [DOGS.decode()]
    place = {"tenant_id": TENANT, "namespace": NAMESPACE}
    assert [each["doc_id"] for each in chat.get("/v1/docs", place)["data"]] == ["f1"]
    assert delete(chat, "f1").json().keys() == {"message"}
    assert query(chat, "f1") == [] and delete(chat, "f1").status_code == context(chat, "f1").status_code == 404


def test_the_pages_of_a_pdf_are_named(chat: Service) -> None:
    sent = {"file": ("report.pdf", files.pdf(), "application/pdf")}
    answer = chat.client.post(f"{BASE}/embed", data={"file_id": "pdf"}, files=sent, headers=ANNA)
    assert answer.json()["known_type"] is True, answer.text
    assert {each["metadata"]["page"] for each, _ in query(chat, "pdf", query="report")} >= {1}


def test_nobody_reaches_the_file_of_another_by_any_name(chat: Service) -> None:
    embed(chat, "mine", CATS)
    assert query(chat, "mine", BERT) == query(chat, "nothing", BERT) == []
    for entity in ("anna", "mine", "agent_1"):
        assert query(chat, "mine", BERT, entity_id=entity) == []
        assert embed(chat, "mine", DOGS, BERT, entity_id=entity).status_code == 403
    assert delete(chat, "mine", headers=BERT).text.replace("mine", "none") == delete(chat, "none", headers=BERT).text
    assert context(chat, "mine", BERT).status_code == 404
    embed(chat, "berts", DOGS, BERT)
    assert delete(chat, "berts", "mine", headers=BERT).status_code == 404
    assert len(query(chat, "berts", BERT)) == len(query(chat, "mine")) == 1
    chat.post("/v1/docs/upsert", {"tenant_id": TENANT, "namespace": NAMESPACE, "doc_id": "other door", "text": "Cats."})
    assert query(chat, "other door") == [] and embed(chat, "other door", DOGS).status_code == 403


def test_an_agents_file_is_read_by_who_names_the_agent_and_changed_by_its_owner_alone(chat: Service) -> None:
    embed(chat, "shared", CATS, entity_id="agent_1")
    assert len(query(chat, "shared", BERT, entity_id="agent_1")) == len(query(chat, "shared")) == 1
    assert query(chat, "shared", BERT) == query(chat, "shared", BERT, entity_id="agent_2") == []
    assert embed(chat, "shared", DOGS, BERT, entity_id="agent_1").status_code == 403
    assert delete(chat, "shared", headers=BERT).status_code == context(chat, "shared", BERT).status_code == 404
    assert [each["page_content"] for each, _ in query(chat, "shared")] == [CATS.decode()]


def test_the_text_of_a_file_is_returned_and_not_stored(chat: Service) -> None:
    sent = {"file": ("cats.txt", CATS, "text/plain")}
    answer = chat.client.post(f"{BASE}/text", data={"file_id": "f1", "entity_id": "a"}, files=sent, headers=ANNA)
    assert answer.json() == {
        "text": CATS.decode(), "file_id": "f1", "filename": "cats.txt", "known_type": True
    }  # fmt: skip
    assert query(chat, "f1") == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer adf_" + "0" * 81},
        {"Authorization": f"Basic {token()['Authorization'][7:]}"},
        token(secret="f" * 64),
        token(algorithm="HS512"),
        token(exp=int(time.time()) - 60),
        token(exp=None),
        token(nbf=int(time.time()) + 600),
        token(None),
        token(7),
        token(" "),
        token("x" * 300),
        token("a\x00b"),
        token(secret="", algorithm="none"),
    ],
)
def test_what_is_no_valid_token_opens_nothing(shared_chat: Service, headers: dict[str, str]) -> None:
    sent = {"file": ("cats.txt", CATS, "text/plain")}
    for answer in (
        shared_chat.client.post(f"{BASE}/query", json={"file_id": "f", "query": "cats"}, headers=headers),
        shared_chat.client.post(f"{BASE}/embed", data={"file_id": "f"}, files=sent, headers=headers),
        shared_chat.client.post(f"{BASE}/text", data={"file_id": "f"}, files=sent, headers=headers),
        delete(shared_chat, "f", headers=headers),
        context(shared_chat, "f", headers),
    ):
        assert answer.status_code == 401 and "JWT_SECRET" in answer.json()["detail"]
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.fixture(scope="module")
def shared_chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("librechat")
    secret = SecretStr(SECRET)
    with open_service(settings_in(folder, librechat_jwt_secret=secret, auth_failures_per_minute=0)) as service:
        yield service


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("query", {"query": "cats"}, "file_id"),
        ("query", {"query": "cats", "file_id": "a\x00b"}, "file_id"),
        ("query", {"query": "cats", "file_id": "a\ud800b"}, "surrogate"),
        ("query", {"query": "cats", "file_id": "f", "entity_id": "a\r\nb"}, "entity_id"),
        ("query", {"file_id": "f", "query": " "}, "empty"),
        ("query", {"file_id": "f", "query": "cats", "k": 0}, "k"),
        ("query", {"file_id": "f", "query": "cats", "k": 1001}, "MAX_TOP_K"),
        ("query", {"file_id": "f", "query": "x" * 10_001}, "MAX_QUERY_CHARS"),
    ],
)
def test_a_wrong_request_is_refused(shared_chat: Service, path: str, body: dict[str, Any], said: str) -> None:
    content, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
    answer = shared_chat.client.post(f"{BASE}/{path}", content=content, headers={**ANNA, **kind})
    assert answer.status_code == 422 and said in answer.json()["detail"]


def test_an_upload_without_a_readable_file_is_refused(chat: Service) -> None:
    assert chat.client.post(f"{BASE}/embed", data={"file_id": "f"}, files={"x": b""}, headers=ANNA).status_code == 422
    image = {"file": ("cat.bin", bytes(range(256)) * 8, "application/octet-stream")}
    assert chat.client.post(f"{BASE}/embed", data={"file_id": "f"}, files=image, headers=ANNA).status_code == 422
    broken = {"file": ("cat.pdf", b"%PDF-1.7 nothing", "application/pdf")}
    answer = chat.client.post(f"{BASE}/embed", data={"file_id": "f"}, files=broken, headers=ANNA)
    assert answer.status_code == 422 and "PDF" in answer.json()["detail"]
    long = {"file": ("cat.txt", CATS, "text/plain")}
    assert chat.client.post(f"{BASE}/embed", data={"file_id": "f" * 1025}, files=long, headers=ANNA).status_code == 422


def test_without_the_secret_no_token_opens_the_door_whatever_the_mode(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path)) as service:
        answer = service.client.post(f"{BASE}/query", json={"file_id": "f", "query": "cats"}, headers=ANNA)
        assert answer.status_code == 401 and "is not set" in answer.json()["detail"]
        assert service.client.get(f"{BASE}/health").status_code == 200
