"""What a client may cost before it has said who it is: a long head, half a request, many connections."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import free_port
from tests.support.processes import api_process, process, until
from tests.support.service import PLACE, settings_in

SECONDS = 1.0
MAX_CONNECTIONS = 20
SOON = 60 * SECONDS  # on a busy machine
SEARCH = json.dumps({**PLACE, "query": "cats"}).encode()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, remote: dict[str, Any]) -> Iterator[int]:
    limits = {"request_timeout_seconds": SECONDS, "max_connections": MAX_CONNECTIONS, "max_body_mb": 1}
    with api_process(settings_in(tmp_path_factory.mktemp("api"), **limits, **remote)) as api:
        api.client.close()
        yield int(api.client.base_url.port or 0)


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=SOON) as connection:
        yield connection


def answer(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def request(path: str, *headers: str, length: int | None = None) -> bytes:
    method = "GET" if length is None else "POST"
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        *([] if length is None else [f"Content-Length: {length}"]),
        *headers,
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def problem_of(said: bytes) -> tuple[int, Any]:
    head, _, body = said.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def is_well(port: int) -> bool:
    with connected(port) as connection:
        connection.sendall(request("/v1/health", "Connection: close"))
        return answer(connection).startswith(b"HTTP/1.1 200")


def is_up(port: int) -> bool:
    try:
        return is_well(port)
    except ConnectionRefusedError:
        return False


@pytest.mark.parametrize(
    "head",
    [
        request("/v1/health", "X: " + "x" * (1 << 20)),
        request("/v1/health", *[f"X-{number}: {'x' * 1000}" for number in range(1000)]),
        request("/v1/health?" + "x" * (1 << 20)),
        request("/v1/health", "X: " + "x" * (70 << 10)),
    ],
    ids=["one header", "many headers", "the URL", "little more than the limit"],
)
def test_a_head_that_is_too_long_is_refused_and_its_connection_closed(port: int, head: bytes) -> None:
    with connected(port) as connection:
        connection.sendall(head)
        status, problem = problem_of(answer(connection))
    assert (status, problem["error"]["code"]) == (431, "too_large")
    assert "MAX_HEADER_KB" in problem["detail"]
    assert is_well(port)


def test_a_head_without_end_is_refused_while_it_comes(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        sent = 0
        with pytest.raises(OSError, match=r"(?i)reset|broken"):
            while sent < 1 << 30:
                sent += connection.send(b"x" * 65536)
                time.sleep(0.01)
    assert sent < 100 << 20


def test_a_head_within_the_limit_and_a_long_body_behind_it_are_taken(port: int) -> None:
    """On one connection: what was counted for one request is not held against the next."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SOON)
    with closing(connection):
        for body in (SEARCH, b" " * (900 << 10) + SEARCH, SEARCH):
            connection.request("POST", "/v1/search", body, {"X": "x" * (40 << 10)})
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())["chunks"]) == (200, [])


@pytest.mark.parametrize("path", ["/v1/search", "/v1/docs/upload"])
def test_a_body_that_stops_half_way_is_answered_408(port: int, path: str) -> None:
    with connected(port) as connection:
        form = "Content-Type: multipart/form-data; boundary=b"
        connection.sendall(request(path, *([form] if "upload" in path else []), length=1000) + b'--b\r\n{"ten')
        started = time.monotonic()
        status, problem = problem_of(answer(connection))
    assert (status, problem["error"]["code"]) == (408, "request_timeout")
    assert SECONDS / 2 < time.monotonic() - started < SOON


def test_a_body_that_drips_is_given_up_and_one_that_is_slow_is_not(port: int) -> None:
    with connected(port) as dripping, connected(port) as slow:
        dripping.sendall(request("/v1/search", length=1000))
        slow.sendall(request("/v1/search", "Connection: close", length=200_000))
        for number in range(16):
            slow.sendall(b" " * 12_500 if number < 15 else b" " * (12_500 - len(SEARCH)) + SEARCH)
            if number < 8:
                dripping.sendall(b" ")
            time.sleep(SECONDS / 8)
        assert problem_of(answer(dripping))[0] == 408
        assert answer(slow).startswith(b"HTTP/1.1 200")


def test_a_head_that_stops_half_way_is_answered_408_and_a_connection_that_says_nothing_closed(port: int) -> None:
    with connected(port) as half, connected(port) as silent:
        half.sendall(b"GET /v1/health HTTP/1.1\r\nHo")
        assert problem_of(answer(half))[0] == 408
        assert answer(silent) == b""


def test_a_body_that_nobody_reads_does_not_hold_its_connection(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(request("/v1/nowhere", length=1000))
        assert connection.recv(65536).startswith(b"HTTP/1.1 404")
        started = time.monotonic()
        with pytest.raises(OSError, match=r"(?i)reset|broken"):
            while time.monotonic() - started < SOON:
                connection.sendall(b" ")
                time.sleep(0.1)


def test_more_connections_than_may_be_are_answered_503_until_others_end(port: int) -> None:
    until(lambda: is_well(port))
    with ExitStack() as opened:
        for _ in range(MAX_CONNECTIONS):
            opened.enter_context(connected(port)).sendall(b"GET /")
        with connected(port) as one_more:
            status, problem = problem_of(answer(one_more))
        assert (status, problem["error"]["code"]) == (503, "overloaded")
        assert "MAX_CONNECTIONS" in problem["detail"]
    until(lambda: is_well(port), SOON)


def test_a_stream_is_answered_while_it_comes_and_may_take_longer_than_a_body_but_not_stop(port: int) -> None:
    with connected(port) as connection, closing(connection.makefile("rb")) as answers:
        connection.sendall(stream_head())
        for number in range(10):
            connection.sendall(chunk(line(f"doc-{number}") + b"\n"))
            assert next_line(answers) == {"line": number + 1, "status": "stored", "doc_id": f"doc-{number}"}
            time.sleep(SECONDS / 8)
        connection.sendall(chunk(line("half")[:20]))
        last = next_line(answers)
        assert (last["line"], last["error"]["code"]) == (11, "request_timeout")


def test_what_was_acknowledged_is_stored_though_its_client_leaves(port: int) -> None:
    with connected(port) as connection, closing(connection.makefile("rb")) as answers:
        connection.sendall(stream_head() + chunk(line("kept") + b"\n" + line("lost")[:20]))
        assert next_line(answers)["doc_id"] == "kept"
    with connected(port) as connection:
        connection.sendall(request("/v1/docs/kept?tenant_id=acme&namespace=project_001", "Connection: close"))
        assert answer(connection).startswith(b"HTTP/1.1 200")
    assert is_well(port)


def test_a_stream_may_be_sent_whole_before_any_of_its_answer_is_read(port: int) -> None:
    lines = 30_000  # of which the answers, 5 MB, fit into no socket's buffers
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        connection.settimeout(SOON * 3)
        connection.connect(("127.0.0.1", port))
        connection.sendall(stream_head("Connection: close"))
        for _ in range(30):
            connection.sendall(chunk(b"7\n" * (lines // 30)))
        connection.sendall(b"0\r\n\r\n")
        received = answer(connection)
    assert received.count(b'"status":"failed"') == lines
    assert f'"line":{lines},'.encode() in received
    assert is_well(port)


def stream_head(*headers: str) -> bytes:
    kind = "Content-Type: application/x-ndjson"
    return request("/v1/docs/upsert/stream", kind, "Transfer-Encoding: chunked", *headers).replace(b"GET", b"POST", 1)


def line(doc_id: str) -> bytes:
    return json.dumps({**PLACE, "doc_id": doc_id, "chunks": [{"text": doc_id, "vector": [1, 2]}]}).encode()


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


def next_line(answers: Any) -> Any:
    while not (text := answers.readline()).startswith(b"{"):
        assert text, "the answer has ended"
    return json.loads(text)


def test_any_server_of_asgi_apps_gives_half_a_body_up(tmp_path: Path) -> None:
    port = free_port()
    command = ["-m", "uvicorn", "app_v1:app", "--port", str(port), "--log-level", "warning"]
    with process(command, settings_in(tmp_path, request_timeout_seconds=SECONDS)):
        until(lambda: is_up(port))
        with connected(port) as connection:
            connection.sendall(request("/v1/search", length=1000) + b"{")
            assert problem_of(answer(connection))[0] == 408
