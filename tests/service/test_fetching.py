"""Documents from URLs: what is fetched, and that nobody reaches a network of the operator's through the service."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from engines.web.addresses import AllowedHosts, is_public
from services.ingest.uploading import doc_id_of
from tests.support import files
from tests.support.service import PLACE, Service, open_service, settings_in

Answer = Callable[[BaseHTTPRequestHandler], None]

NOT_PUBLIC = (
    "127.0.0.1 10.0.0.1 172.16.0.1 192.168.0.1 169.254.169.254 100.64.0.1 0.0.0.0 192.0.0.170 198.18.0.1 240.0.0.1",
    "224.0.0.1 255.255.255.255 ::1 :: fe80::1 fc00::1 fd00:ec2::254 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ff02::1",
    "64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::7f00:1 2002:7f00:1:: 2001:0:7f00:1:: ::127.0.0.1 ::8.8.8.8",
    "192.0.2.1 192.88.99.1 198.51.100.1 203.0.113.1 172.31.255.255 239.1.2.3 fec0::1 feff::1 3fff::1 3fff:fff::1",
    "2001:db8::1 2001::1 2001:2::1 2001:10::1 100::1 100:0:0:1::1 5f00::1 64:ff9b:1:ffff::808:808 2002:a9fe:a9fe::1",
    "2002:c0a8:1::1 ::ffff:0:8.8.8.8 fdff::1 4000::1 64:ff9b::c058:6301",
)


class Server:
    """A real server on loopback. *paths* are those that were requested from it."""

    def __init__(self, routes: dict[str, Answer], host: str = "127.0.0.1", port: int = 0) -> None:
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.paths.append(self.path)
                self.close_connection = True
                routes[self.path](self)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer((host, port), Handler)
        self.port = self.http.server_port

    def url(self, path: str, host: str = "localhost") -> str:
        return f"http://{host}:{self.port}{path}"


@contextmanager
def serving(routes: dict[str, Answer], host: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
    server = Server(routes, host, port)
    thread = Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join(10)
        server.http.server_close()


@contextmanager
def fetching(folder: Path, allowed: str = "localhost", **changed: Any) -> Iterator[Service]:
    settings = settings_in(folder, fetch_enabled=True, fetch_allow_hosts=allowed, **changed)
    with open_service(settings) as service:
        yield service


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


def endless(*, pause: float = 0.0) -> Answer:
    """Goes on until the client has enough, or for a while."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(200 if pause else 2000):
                handler.wfile.write(b"x" if pause else b"x" * 4096)
                time.sleep(pause)
        except OSError:
            return

    return send


def fetch(service: Service, url: str, *, expect: int = 200, **more: Any) -> Any:
    return service.post("/v1/docs/fetch", {**PLACE, "url": url, **more}, expect=expect)


def test_a_page_is_fetched_read_and_found(tmp_path: Path) -> None:
    routes = {
        "/go": answer(302, Location="/pages/fees%20of%20ours"),
        "/pages/fees%20of%20ours": answer(200, files.html(), Content_Type="text/html; charset=utf-8"),
    }
    with serving(routes) as server, fetching(tmp_path) as service:
        url = server.url("/go")
        result = fetch(service, url)
        [doc] = result["docs"]
        assert (doc["doc_id"], doc["filename"]) == (doc_id_of(PLACE["namespace"], url), "fees of ours")
        service.work()
        stored = service.doc(doc["doc_id"])
        assert (stored["status"], stored["source_type"], stored["title"]) == ("ready", "url", "The Harbour")
        assert stored["metadata"] == {"url": url, "filename": "fees of ours"}
        assert service.hit_ids("When are fees paid?")[0] == doc["doc_id"]
        assert fetch(service, url)["skipped_docs"] == 1
        assert server.paths == ["/go", "/pages/fees%20of%20ours"] * 2


def test_fetching_is_off_unless_the_operator_allows_it(service: Service) -> None:
    with serving({"/": answer(200, b"text")}) as server:
        problem = fetch(service, server.url("/"), expect=403)
        assert (problem["error"]["code"], server.paths) == ("fetch_disabled", [])
        assert "FETCH_ENABLED=true" in problem["detail"]


# Addresses


@pytest.mark.parametrize("address", " ".join(NOT_PUBLIC).split())
def test_an_address_that_leads_inside_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"),
        *("64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1"),
    ],
)
def test_an_address_of_everybodys_is_public(address: str) -> None:
    assert is_public(ip_address(address))


def test_names_addresses_and_networks_can_be_allowed() -> None:
    allowed = AllowedHosts.parse("Wiki.intern, 10.1.0.0/16,192.168.1.7")
    assert allowed.permits("wiki.intern.", ip_address("10.9.9.9"))
    assert allowed.permits("other", ip_address("10.1.2.3"))
    assert allowed.permits("other", ip_address("192.168.1.7"))
    assert not allowed.permits("other", ip_address("10.9.9.9"))
    assert not allowed.permits("not-wiki.intern", ip_address("192.168.1.8"))
    assert not AllowedHosts.parse("").permits("localhost", ip_address("127.0.0.1"))


HOSTS = "127.0.0.1 localhost 127.1 0x7f.1 2130706433 0177.0.0.1 [::ffff:127.0.0.1] 0.0.0.0 [::] 169.254.169.254 [::1]"


def test_no_way_to_write_an_address_of_ours_gets_to_it(tmp_path: Path) -> None:
    with serving({"/": answer(200, b"secret")}) as server, fetching(tmp_path, allowed="") as service:
        for host in HOSTS.split():
            assert fetch(service, server.url("/", host), expect=422)["error"]["param"] == "url", host
        assert server.paths == []
        assert service.get("/v1/docs", PLACE)["data"] == []


def test_only_http_is_fetched(tmp_path: Path) -> None:
    with fetching(tmp_path) as service:
        for url in (
            "file:///etc/passwd",
            "ftp://localhost/",
            "gopher://localhost",
            "//localhost",
            "http://",
            "http://xn--/",
            "http://localhost:99999/",
        ):
            assert "Only http:// and https://" in fetch(service, url, expect=422)["detail"], url


def test_a_redirect_gets_nowhere_else_than_a_request(tmp_path: Path) -> None:
    with serving({"/secret": answer(200, b"secret")}) as inside:
        routes = {
            "/inside": answer(302, Location=inside.url("/secret", "127.0.0.1")),
            "/metadata": answer(307, Location="http://169.254.169.254/latest/meta-data/"),
            "/file": answer(302, Location="file:///etc/passwd"),
            "/user": answer(302, Location=f"http://me:secret@localhost:{inside.port}/secret"),
            "/idna": answer(302, Location="http://xn--/"),
            "/loop": answer(302, Location="/loop"),
        }
        with serving(routes) as server, fetching(tmp_path) as service:
            for path in routes:
                fetch(service, server.url(path), expect=502 if path == "/loop" else 422)
            assert server.paths.count("/loop") == 6
        assert inside.paths == []


def test_a_name_that_resolves_otherwise_a_moment_later_gains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look-up says an allowed address, every later one another."""
    look_up, hosts = socket.getaddrinfo, []

    def rebinding(host: Any, *more: Any, **named: Any) -> Any:
        if host != "rebind.example":
            return look_up(host, *more, **named)
        hosts.append(host)
        return look_up("127.0.0.1" if len(hosts) == 1 else "127.0.0.2", *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with (
        serving({"/": answer(200, b"The allowed one.", Content_Type="text/plain")}) as allowed,
        serving({"/": answer(200, b"secret")}, "127.0.0.2", allowed.port) as secret,
        fetching(tmp_path, allowed="127.0.0.1") as service,
    ):
        fetch(service, allowed.url("/", "rebind.example"))
        assert (allowed.paths, secret.paths) == (["/"], [])
        fetch(service, allowed.url("/", "rebind.example"), expect=422)
        assert secret.paths == []


# What servers do


def test_what_a_server_does_wrong_is_told_and_nothing_is_kept(tmp_path: Path) -> None:
    routes = {
        "/gone": answer(404),
        "/large": answer(200, b"x" * (2 << 20)),
        "/endless": endless(),
        "/packed": answer(200, b"\x1f\x8b", Content_Encoding="gzip"),
        "/picture": answer(200, b"\x89PNG\r\n\x1a\n\x00\x00", Content_Type="image/png"),
        "/empty": answer(200),
        "/cut": answer(200, b"half", Content_Length="100"),
    }
    refused = {
        "/gone": (502, "The server answers 404"),
        "/large": (413, "more than 1 MB (MAX_UPLOAD_MB)"),
        "/endless": (413, "more than 1 MB (MAX_UPLOAD_MB)"),
        "/packed": (502, "compressed"),
        "/picture": (422, "It is none of the files that can be read"),
        "/empty": (422, "is empty"),
        "/cut": (502, "breaks off"),
    }
    with serving(routes) as server, fetching(tmp_path, max_upload_mb=1) as service:
        for path, (status, detail) in refused.items():
            assert detail in fetch(service, server.url(path), expect=status)["detail"], path
        fetch(service, "http://no-such-host.invalid/", expect=502)
        assert service.get("/v1/docs", PLACE)["data"] == []
        assert [path for path in (tmp_path / "raw_files").rglob("*") if path.is_file()] == []
    with fetching(tmp_path) as service:
        assert "cannot be reached" in fetch(service, server.url("/gone"), expect=502)["detail"]
    with serving({"/drip": endless(pause=0.05)}) as server, fetching(tmp_path, fetch_timeout_seconds=0.5) as service:
        message = fetch(service, server.url("/drip"), expect=502)["detail"]
        assert "longer than 0.5 s (FETCH_TIMEOUT_SECONDS)" in message
        assert [path for path in (tmp_path / "raw_files").rglob("*") if path.is_file()] == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: there is no certificate")
def test_a_certificate_is_asked_for_by_name_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving({"/": answer(200, b"Cats sleep.")}) as server, fetching(tmp_path, "localhost,127.0.0.1") as service:
        server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
        fetch(service, f"https://localhost:{server.port}/", expect=502)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        fetch(service, f"https://127.0.0.1:{server.port}/", expect=502)
        assert fetch(service, f"https://localhost:{server.port}/")["upserted_docs"] == 0
