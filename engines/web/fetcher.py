"""Gets a document from another server, and connects to no address that a stranger should not reach through us.

The address that was checked is the one that is connected to: a name that resolves otherwise a moment later gains
nothing, and neither does a redirect, since every connection is made here. There are no proxies in between.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httpcore
import httpx

from engines.web.addresses import AllowedHosts, parse_address
from errors import FetchFailed, Invalid, TooLarge

MOST_REDIRECTS = 5
MOST_PORTS = 65_535
PIECE_BYTES = 65_536
_HEADERS = {"User-Agent": "ai3-datafactory", "Accept": "*/*", "Accept-Encoding": "identity"}
_FILENAME = re.compile(r"filename\*?=(?:utf-8'')?\"?([^\";]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """What a server sends. *pieces* may be read once, while the connection is open."""

    filename: str
    content_type: str
    pieces: Iterator[bytes]


@dataclass(frozen=True)
class Fetcher:
    """*seconds* are for everything, from the first name that is looked up to the last byte."""

    allowed: AllowedHosts
    seconds: float
    most_bytes: int

    @contextmanager
    def open(self, url: str) -> Iterator[FetchedFile]:
        """Raises Invalid for a URL that may not be fetched, FetchFailed and TooLarge for what its server does."""
        end = time.monotonic() + self.seconds
        try:
            with ExitStack() as held:
                yield self._fetched(self._answer(held, url, end))
        except (httpx.TimeoutException, httpcore.TimeoutException) as error:
            raise FetchFailed(f"Fetching took longer than {self.seconds:g} s (FETCH_TIMEOUT_SECONDS).") from error
        except httpx.TooManyRedirects as error:
            raise FetchFailed(f"The server redirects more than {MOST_REDIRECTS} times.") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise _not_http() from error
        except (httpx.HTTPError, *_NETWORK_ERRORS) as error:
            raise FetchFailed(f"The server cannot be reached or breaks off: {type(error).__name__}.") from error

    def _answer(self, held: ExitStack, url: str, end: float) -> httpx.Response:
        client = held.enter_context(self._client(end))
        try:
            request = client.stream("GET", _checked(url), extensions={"timeout": _timeouts(self.seconds)})
            return held.enter_context(request)
        except UnicodeError as error:  # a name, here or in a redirect, that is none to IDNA
            raise _not_http() from error

    def _client(self, end: float) -> httpx.Client:
        return httpx.Client(
            transport=_Transport(_CheckedBackend(self.allowed, end)),
            headers=_HEADERS,
            follow_redirects=True,
            max_redirects=MOST_REDIRECTS,
            trust_env=False,
            event_hooks={"request": [lambda request: _check(request.url)]},
        )

    def _fetched(self, answer: httpx.Response) -> FetchedFile:
        if answer.status_code != httpx.codes.OK:
            raise FetchFailed(f"The server answers {answer.status_code}, not with a document.")
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise FetchFailed("The server sends it compressed although it was asked not to.")
        length = answer.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.most_bytes:
            raise self._too_large()
        return FetchedFile(_filename(answer), answer.headers.get("content-type", ""), self._pieces(answer))

    def _pieces(self, answer: httpx.Response) -> Iterator[bytes]:
        got = 0
        for piece in answer.iter_raw(PIECE_BYTES):
            got += len(piece)
            if got > self.most_bytes:
                raise self._too_large()
            yield piece

    def _too_large(self) -> TooLarge:
        return TooLarge(f"What the URL names has more than {self.most_bytes >> 20} MB (MAX_UPLOAD_MB).", param="url")


_NETWORK_ERRORS = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol)


class _Transport(httpx.BaseTransport):
    """httpx over connections of our own making."""

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(), max_keepalive_connections=0, network_backend=backend
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        asked = request.url
        url = httpcore.URL(scheme=asked.raw_scheme, host=asked.raw_host, port=asked.port, target=asked.raw_path)
        answer = self._pool.handle_request(
            httpcore.Request(request.method, url, headers=request.headers.raw, extensions=request.extensions)
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions)

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


class _CheckedBackend(httpcore.NetworkBackend):
    """Looks a name up once, checks every address that it has, and connects to one of those."""

    def __init__(self, allowed: AllowedHosts, end: float) -> None:
        self._allowed = allowed
        self._end = end
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        error: Exception = httpcore.ConnectError()
        for address in self._addresses(host, port):
            try:
                left = _left(self._end, timeout)
                stream = self._backend.connect_tcp(address, port, left, local_address, socket_options)
                return _TimedStream(stream, self._end)
            except httpcore.ConnectError as failed:
                error = failed
        raise error

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise FetchFailed("The host in the URL has no address: is its name right?") from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        if not all(self._allowed.permits(host, parse_address(each)) for each in addresses):
            raise Invalid(
                f"{host} is not at a public address, and those of this network are not fetched from. An operator can "
                "allow it (FETCH_ALLOW_HOSTS).",
                param="url",
            )
        return addresses


class _TimedStream(httpcore.NetworkStream):
    """No read or write goes on past the end: a server that sends a byte now and then gains nothing."""

    def __init__(self, stream: httpcore.NetworkStream, end: float) -> None:
        self._stream = stream
        self._end = end

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._end, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._end, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, _left(self._end, timeout)), self._end)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(end: float, timeout: float | None) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left if timeout is None else min(left, timeout)


def _timeouts(seconds: float) -> dict[str, float]:
    return dict.fromkeys(("connect", "read", "write", "pool"), seconds)


def _checked(url: str) -> httpx.URL:
    found = httpx.URL(url)
    _check(found)
    return found


def _check(url: httpx.URL) -> None:
    """Asked of every URL on the way."""
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > MOST_PORTS:
        raise _not_http()
    if url.userinfo:
        raise Invalid("A URL with a user and a password in it is not fetched: leave them out.", param="url")


def _not_http() -> Invalid:
    return Invalid("Only http:// and https:// URLs with a host are fetched.", param="url")


def _filename(answer: httpx.Response) -> str:
    """What the server calls it, else the end of the path, else the host."""
    said = _FILENAME.search(answer.headers.get("content-disposition", ""))
    if said:
        return unquote(said.group(1))
    return unquote(answer.url.path.rstrip("/").rpartition("/")[2]) or answer.url.host
