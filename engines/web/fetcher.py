"""Fetches a document from another server. Redirects are checked as the first URL is: every connection is made here."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

import httpcore
import httpx

from engines.web.addresses import AllowedHosts
from engines.web.guard import NETWORK_ERRORS, CheckedBackend, check_url, not_http
from errors import FetchFailed, TooLarge

MAX_REDIRECTS = 5
PIECE_BYTES = 65_536
_HEADERS = {"User-Agent": "ai3-datafactory", "Accept": "*/*", "Accept-Encoding": "identity"}
_FILENAME = re.compile(r"filename\*?=(?:utf-8'')?\"?([^\";]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file that a server sends. *pieces* can be read once, while the connection is open."""

    filename: str
    content_type: str
    pieces: Iterator[bytes]


@dataclass(frozen=True)
class Fetcher:
    """*seconds* limits the whole fetch, from the first DNS look-up to the last byte."""

    allowed: AllowedHosts
    seconds: float
    max_bytes: int

    @contextmanager
    def open(self, url: str) -> Iterator[FetchedFile]:
        """Raises Invalid for a URL that must not be fetched, FetchFailed and TooLarge for errors of its server."""
        deadline = time.monotonic() + self.seconds
        try:
            with ExitStack() as stack:
                yield self._fetched_file(self._response(stack, url, deadline))
        except (httpx.TimeoutException, httpcore.TimeoutException) as error:
            raise FetchFailed(f"Fetching took longer than {self.seconds:g} s (FETCH_TIMEOUT_SECONDS).") from error
        except httpx.TooManyRedirects as error:
            raise FetchFailed(f"The server redirects more than {MAX_REDIRECTS} times.") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise not_http() from error
        except (httpx.HTTPError, *NETWORK_ERRORS) as error:
            raise FetchFailed(f"The server cannot be reached or breaks off: {type(error).__name__}.") from error

    def _response(self, stack: ExitStack, url: str, deadline: float) -> httpx.Response:
        client = stack.enter_context(self._client(deadline))
        try:
            response = client.stream("GET", _parse_url(url), extensions={"timeout": _timeouts(self.seconds)})
            return stack.enter_context(response)
        except UnicodeError as error:  # a host name, here or in a redirect, that IDNA rejects
            raise not_http() from error

    def _client(self, deadline: float) -> httpx.Client:
        return httpx.Client(
            transport=_Transport(CheckedBackend(self.allowed, deadline)),
            headers=_HEADERS,
            follow_redirects=True,
            max_redirects=MAX_REDIRECTS,
            trust_env=False,
            event_hooks={"request": [lambda request: check_url(request.url)]},
        )

    def _fetched_file(self, response: httpx.Response) -> FetchedFile:
        if response.status_code != httpx.codes.OK:
            raise FetchFailed(f"The server answers {response.status_code}, not with a document.")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise FetchFailed("The server sends a compressed answer although the request forbids it.")
        length = response.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.max_bytes:
            raise self._too_large()
        return FetchedFile(_filename(response), response.headers.get("content-type", ""), self._pieces(response))

    def _pieces(self, response: httpx.Response) -> Iterator[bytes]:
        received_bytes = 0
        for piece in response.iter_raw(PIECE_BYTES):
            received_bytes += len(piece)
            if received_bytes > self.max_bytes:
                raise self._too_large()
            yield piece

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The file at the URL has more than {self.max_bytes >> 20} MB (MAX_UPLOAD_MB).", param="url")


class _Transport(httpx.BaseTransport):
    """httpx over connections with checked addresses."""

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(), max_keepalive_connections=0, network_backend=backend
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        target = request.url
        url = httpcore.URL(scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path)
        response = self._pool.handle_request(
            httpcore.Request(request.method, url, headers=request.headers.raw, extensions=request.extensions)
        )
        return httpx.Response(
            response.status, headers=response.headers, stream=_ResponseStream(response), extensions=response.extensions
        )

    def close(self) -> None:
        self._pool.close()


class _ResponseStream(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


def _timeouts(seconds: float) -> dict[str, float]:
    return dict.fromkeys(("connect", "read", "write", "pool"), seconds)


def _parse_url(url: str) -> httpx.URL:
    parsed = httpx.URL(url)
    check_url(parsed)
    return parsed


def _filename(response: httpx.Response) -> str:
    """The name in Content-Disposition, else the last part of the path, else the host."""
    match = _FILENAME.search(response.headers.get("content-disposition", ""))
    if match:
        return unquote(match.group(1))
    return unquote(response.url.path.rstrip("/").rpartition("/")[2]) or response.url.host
