"""A connection that an answer promised to keep is kept: over a real server, whatever went wrong in the request."""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from app_v1 import create_app
from tests.support.postgres import free_port
from tests.support.processes import until
from tests.support.service import settings_in


async def fail() -> None:
    raise RuntimeError("nobody expected this")


@contextmanager
def serving(folder: Path) -> Iterator[http.client.HTTPConnection]:
    app, port = create_app(settings_in(folder)), free_port()
    app.add_api_route("/fail", fail)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        until(lambda: server.started)
        yield connection
    finally:
        connection.close()
        server.should_exit = True
        thread.join()


def test_after_an_error_that_nobody_expected_the_connection_lives_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tmp_path) as connection, caplog.at_level(logging.ERROR):
        connection.connect()
        socket = connection.sock
        for method, path, status in (("GET", "/fail", 500), ("GET", "/v1/jobs", 200), ("GET", "/fail", 500)):
            connection.request(method, path, headers={"X-Request-ID": f"of-{status}"})
            answer = connection.getresponse()
            assert (answer.status, answer.headers["X-Request-ID"]) == (status, f"of-{status}"), answer.read()
            answer.read()
            assert connection.sock is socket
        assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == ["GET /fail"] * 2
