"""The log of requests: a line each, with what an operator looks for, and the same id in the worker's lines."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from api import access_log
from api.access_log import Access, AccessLog
from logs import JsonLines, TextLines
from tests.support.accounts import make_team
from tests.support.service import PLACE, Service, open_service, settings_in


def lines(captured: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, captured.splitlines()) if line["logger"] == "access"]


def words(line: dict[str, Any]) -> str:
    return f"{line['level']} {line['method']} {line['route']} {line['tenant']} {line['status']}"


def test_each_request_is_a_line_with_its_route_tenant_status_and_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_service(settings_in(tmp_path, log_format="json", log_level="DEBUG")) as service:
        doc = {**PLACE, "doc_id": "guide/a", "text": "Cats sleep."}
        service.post("/v1/docs/upsert", doc, headers={"X-Request-ID": "mine"})
        service.batch({"b": "Dogs bark."})
        service.get("/v1/docs/guide%2Fa", {**PLACE})
        service.client.post("/v1/docs/upload", files={"file": ("a.txt", b"Text.")}, data=PLACE)
        service.get("/v1/teams/acme/projects")
        service.get("/v1/health")
        service.client.get("/nowhere%0A")
        service.get("/v1/jobs", {"state": "x", "tenant_id": "acme"}, expect=422)
    logged = lines(capsys.readouterr().err)
    assert [words(line) for line in logged] == [
        "INFO POST /v1/docs/upsert acme 200",
        "INFO POST /v1/docs/upsert/batch acme 200",
        "INFO GET /v1/docs/{doc_id} acme 200",
        "INFO POST /v1/docs/upload acme 200",
        "INFO GET /v1/teams/{tenant_id}/projects acme 200",
        "DEBUG GET /v1/health None 200",
        "INFO GET (no route) None 404",
        "INFO GET /v1/jobs acme 422",
    ]
    assert logged[0]["request_id"] == "mine"
    assert all(line["ms"] > 0 and line["time"].endswith("+00:00") for line in logged)
    assert logged[0]["message"] == f"POST /v1/docs/upsert acme 200 {logged[0]['ms']} ms"


def test_with_keys_the_tenant_is_that_of_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_service(settings_in(tmp_path, log_format="json", auth_mode="keys")) as service:
        team = make_team(service, "ours")
        capsys.readouterr()
        team.ask("GET", "/v1/jobs", params={"tenant_id": "theirs"})
        service.client.get("/v1/jobs")
    assert [words(line) for line in lines(capsys.readouterr().err)] == [
        "INFO GET /v1/jobs ours 200",
        "INFO GET /v1/jobs None 401",
    ]


def test_a_job_and_the_lines_of_its_worker_have_the_id_of_the_request(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"docs": [{**PLACE, "doc_id": "a", "text": "Cats sleep."}], "async_mode": True}
    job_id = service.post("/v1/docs/upsert/batch", body, headers={"X-Request-ID": "mine"})["job_id"]
    assert service.job(job_id)["request_id"] == "mine"
    caplog.set_level(logging.INFO)
    logged: list[str] = []
    watching = logging.StreamHandler()
    watching.setFormatter(TextLines())
    watching.emit = lambda record: logged.append(watching.format(record))  # type: ignore[method-assign]
    _with_id(watching)
    logging.getLogger("worker").addHandler(watching)
    try:
        service.work()
    finally:
        logging.getLogger("worker").removeHandler(watching)
    assert len(logged) == 1
    assert f"INFO [mine] ingest_docs {job_id} of acme/project_001 completed: docs 1" in logged[0]


def _with_id(handler: logging.Handler) -> None:
    from logs import handler as ours

    for each in ours("text").filters:
        handler.addFilter(each)


def test_a_traceback_stays_within_its_line_of_json() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "", 1, "it %s", ("failed",), (ValueError, error, None))
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["traceback"].endswith("ValueError: a\nb")
    assert json.loads(line)["message"] == "it failed"


def test_a_line_that_nobody_reads_holds_up_nothing_and_what_is_dropped_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access_log, "MOST_WAITING", 3)
    is_read, written = Event(), []

    class Blocked(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            is_read.wait(30)
            written.append(record.getMessage())

    monkeypatch.setattr("logs.handler", lambda _format: Blocked())
    with AccessLog.running("INFO", "text") as log:
        for number in range(10):
            log.add(Access("id", "GET", f"/{number}", None, b"tenant_id=a%20b%0A", 200, 1.23))
        log.add(Access("id", "GET", "/v1/health", None, b"", 200, 1.0))
        is_read.set()
    assert written[0] == 'GET /0 "a\\u0020b\\n" 200 1.2 ms'
    assert 3 <= len(written) <= 4
    assert f"{10 - len(written)} lines about requests were dropped" in caplog.text
