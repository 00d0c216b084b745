"""What a preview says is what an upload and its worker publish; and it stores nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from domain import Scope
from models import Base
from services.ingest.previewing import MAX_CONCURRENT
from tests.support import files
from tests.support.accounts import keyed, make_team
from tests.support.corpus import SAMPLES
from tests.support.processes import until
from tests.support.service import PLACE, Service, open_service, settings_in

__all__ = ["keyed"]

TEXTS = {sample.name: sample for sample in SAMPLES}
LONG_CSV = files.CSV + b"\nCora,9 m,80" * 200


def preview(service: Service, name: str, content: bytes, *, expect: int = 200, **fields: Any) -> Any:
    sent = {"file": (name, content)}
    answer = service.client.post("/v1/docs/preview", files=sent, data={**PLACE, **fields})
    assert answer.status_code == expect, answer.text
    return answer.json()


def uploaded(service: Service, name: str, content: bytes, **fields: Any) -> Any:
    sent = {"file": (name, content)}
    answer = service.client.post("/v1/docs/upload", files=sent, data={**PLACE, "doc_id": name, **fields})
    assert answer.status_code == 200, answer.text
    service.work()
    return service.doc(name)


def stored(service: Service) -> dict[str, int]:
    """The number of rows of each table, and of files in the blob store."""
    tables = [table for table in Base.metadata.sorted_tables if table.info.get("only_on") is None]
    with service.runtime.database.read() as session:
        rows = {table.name: session.scalar(select(func.count()).select_from(table)) or 0 for table in tables}
    folder = Path(service.settings.blob_store_url.removeprefix("file://"))
    return {**rows, "blobs": sum(path.is_file() for path in folder.rglob("*"))}


OPTIONS: list[tuple[str, bytes, dict[str, Any]]] = [
    ("harbour.pdf", TEXTS["harbour.pdf"].content(), {}),
    ("scanned.pdf", files.scanned_pdf(with_text=True), {"chunk_strategy": "pages", "enrich_context": "true"}),
    ("harbour.docx", TEXTS["harbour.docx"].content(), {"title": "A title", "enrich_context": "true"}),
    ("letter.eml", TEXTS["letter.eml"].content(), {"metadata": '{"title": "Told"}', "enrich_context": "true"}),
    ("ships.csv", LONG_CSV, {"chunk_overlap": "60"}),
    ("latin.txt", "Grüße aus Köln. ".encode("latin-1") * 300, {"chunk_overlap": "3000"}),
]


def test_a_preview_is_what_an_upload_becomes(service: Service) -> None:
    until(lambda: bool(service.get("/v1/health")["ok"]))
    for name, content, fields in OPTIONS:
        shown = preview(service, name, content, limit="1000", text_limit="1000000", **fields)
        doc = uploaded(service, name, content, **fields)
        shared = ("mime_type", "title", "chunk_count", "warnings", "warning_details", "filename")
        assert {key: shown[key] for key in shared} == {key: doc[key] for key in shared}
        chunks = [{key: each[key] for key in shown["chunks"]["data"][0]} for each in service.chunks(name)]
        assert shown["chunks"] == {"data": chunks, "has_more": False, "next_cursor": None}
        assert shown["sha256"] == doc["doc_hash"]
        cut = [shown["text"][each["char_start"] : each["char_end"]] for each in chunks]
        assert all(each["text"].endswith(text) for each, text in zip(chunks, cut, strict=True))
    assert shown["warning_details"][0]["code"] == "encoding_guessed"


def test_a_preview_stores_nothing(service: Service) -> None:
    service.upsert("doc", "Cats sleep.", namespace="other")
    before = stored(service)
    for name, content, fields in OPTIONS:
        assert preview(service, name, content, **fields)["chunk_count"] > 0
    assert preview(service, "a.pdf", files.pdf(password="x"), expect=422)
    assert stored(service) == before
    assert service.get("/v1/docs", PLACE)["data"] == []


def test_text_and_chunks_come_in_pages(shared_service: Service) -> None:
    whole = preview(shared_service, "ships.csv", LONG_CSV, limit="1000", text_limit="1000000")
    assert whole["text"] == LONG_CSV.decode() and whole["chunk_count"] > 4
    first = preview(shared_service, "ships.csv", LONG_CSV, limit="2", text_limit="100")
    assert (first["chunks"]["has_more"], first["chunks"]["next_cursor"]) == (True, "1")
    rest = preview(shared_service, "ships.csv", LONG_CSV, after="1", text_offset="100", limit="1000")
    assert first["text"] + rest["text"] == whole["text"][:10_100]
    assert first["chunks"]["data"] + rest["chunks"]["data"] == whole["chunks"]["data"]
    assert {each["text_length"] for each in (first, rest)} == {len(LONG_CSV)}


BAD: list[tuple[str, bytes, dict[str, str]]] = [
    ("a.pdf", b"", {}),
    ("a.pdf", b"not a PDF", {}),
    ("a.png", b"\x89PNG\r\n\x1a\n\x00\x00", {}),
    ("a.txt", b"Cats.", {"chunk_strategy": "no-such"}),
    ("a.txt", b"Cats.", {"metadata": "[1]"}),
    ("a.txt", b"Cats.", {"metadata": '{"size": 1e999}'}),
    ("a.txt", b"Cats.", {"chunk_overlap": "-1"}),
]


@pytest.mark.parametrize(("name", "content", "fields"), BAD)
def test_what_an_upload_refuses_a_preview_refuses_alike(
    shared_service: Service, name: str, content: bytes, fields: dict[str, str]
) -> None:
    sent = {"file": (name, content)}
    answers = [
        shared_service.client.post(f"/v1/docs/{path}", files=sent, data={**PLACE, **fields})
        for path in ("upload", "preview")
    ]
    problems = [{**answer.json(), "instance": ""} for answer in answers]
    assert answers[0].status_code == 422
    assert problems[0] == problems[1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pdf", files.pdf(password="secret")),
        ("b.pdf", files.scanned_pdf(with_text=False)),
        ("c.docx", files.word()[:-900]),
        ("d.txt", b" \n\t"),
    ],
    ids=["locked", "scan", "damaged", "blank"],
)
def test_what_fails_as_a_document_is_refused_with_the_same_words(service: Service, name: str, content: bytes) -> None:
    refused = preview(service, name, content, expect=422)
    doc = uploaded(service, name, content)
    assert (doc["status"], doc["error"]) == ("failed", refused["detail"])
    assert refused["error"]["code"] == "unreadable_file"


def test_a_preview_takes_one_file(shared_service: Service) -> None:
    sent = [("file", ("a.txt", b"Cats.")), ("file", ("b.txt", b"Dogs."))]
    answer = shared_service.client.post("/v1/docs/preview", files=sent, data=PLACE)
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, "file")
    answer = shared_service.client.post("/v1/docs/preview", files={"title": (None, "x")}, data=PLACE)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "file")


def test_a_preview_is_cut_by_what_the_namespace_is_for(service: Service) -> None:
    """One with external vectors takes no file, as an upload says too."""
    chunks = [{"text": "Row", "vector": [1, 0]}]
    service.post("/v1/docs/upsert", {**PLACE, "doc_id": "own", "chunks": chunks})
    refused = preview(service, "a.txt", b"Cats.", expect=422)
    answer = service.client.post("/v1/docs/upload", files={"file": ("a.txt", b"Cats.")}, data=PLACE)
    assert (answer.status_code, answer.json()["detail"]) == (422, refused["detail"])


def test_few_files_are_previewed_at_once(service: Service) -> None:
    slots = service.client.app_state["runtime"].ingest.previews.slots
    for _ in range(MAX_CONCURRENT):
        assert slots.acquire(blocking=False)
    assert preview(service, "a.txt", b"Cats.", expect=503)["error"]["code"] == "overloaded"
    slots.release()
    assert preview(service, "a.txt", b"Cats.")["text"] == "Cats."


def test_with_keys_a_preview_needs_the_right_to_ingest_and_counts_as_a_request(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, auth_mode="keys", rate_limit_per_key="3/minute")) as service:
        team = make_team(service, "team")
        place = {"namespace": "place"}
        team.post(f"{team.own}/projects", place, expect=201)

        def ask(scope: Scope, **fields: str) -> Any:
            sent = {"file": ("a.txt", b"Cats.")}
            return team.ask("POST", "/v1/docs/preview", scope=scope, files=sent, data={**place, **fields})

        assert ask(Scope.SEARCH).status_code == 403
        assert ask(Scope.INGEST, namespace="nowhere").status_code == 404
        allowed = ask(Scope.INGEST)
        assert (allowed.status_code, allowed.headers["ratelimit-remaining"]) == (200, "1")
        assert json.loads(allowed.text)["title"] is None
        assert [ask(Scope.INGEST).status_code for _ in range(2)] == [200, 429]
