"""Posts a small body to another server, behind the guard, and reads how its answer begins. Follows no redirect."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpcore
import httpx

from engines.web.addresses import AllowedHosts
from engines.web.guard import NETWORK_ERRORS, CheckedBackend, check_url, not_http, permitted_addresses
from errors import FetchFailed, ServiceError

EXCERPT_BYTES = 1024
_HEADERS = {"User-Agent": "ai3-datafactory", "Accept": "*/*", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """What came back: a *status* with the beginning of the body, or an *error* in a sentence."""

    status: int | None
    excerpt: str = ""
    error: str | None = None
    retry_after_seconds: float | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class Poster:
    """*seconds* limits one post, from the connection to the last byte that is read. A new connection each time."""

    allowed: AllowedHosts
    seconds: float
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)

    def check(self, url: str) -> None:
        """Raises Invalid for a URL that would be refused now. A name without an address may get one later."""
        parsed = _parsed(url)
        with suppress(FetchFailed):
            permitted_addresses(self.allowed, parsed.host, parsed.port or 443)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> PostAnswer:
        """Never raises for what the server does, or for its address."""
        try:
            return self._post(_parsed(url), body, {**_HEADERS, **headers})
        except httpcore.TimeoutException:
            return PostAnswer(None, error=f"No answer within {self.seconds:g} s.")
        except ServiceError as error:
            return PostAnswer(None, error=str(error))
        except (UnicodeError, *NETWORK_ERRORS) as error:
            return PostAnswer(None, error=f"The server cannot be reached or breaks off: {type(error).__name__}.")

    def _post(self, url: httpx.URL, body: bytes, headers: Mapping[str, str]) -> PostAnswer:
        backend = CheckedBackend(self.allowed, time.monotonic() + self.seconds)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self.seconds)
        with (
            httpcore.ConnectionPool(self.tls, max_keepalive_connections=0, network_backend=backend) as pool,
            pool.stream(
                "POST", target, headers=list(headers.items()), content=body, extensions={"timeout": timeouts}
            ) as response,
        ):
            excerpt = _beginning(response.iter_stream())
            return PostAnswer(response.status, excerpt, retry_after_seconds=_retry_after(response.headers))


def _beginning(pieces: Iterator[bytes]) -> str:
    """As much as arrives in time. NUL cannot be stored."""
    received = b""
    with suppress(httpcore.TimeoutException, *NETWORK_ERRORS):
        for piece in pieces:
            received += piece
            if len(received) >= EXCERPT_BYTES:
                break
    return received[:EXCERPT_BYTES].decode("utf-8", "replace").replace("\x00", "\ufffd")


def _retry_after(headers: list[tuple[bytes, bytes]]) -> float | None:
    """In seconds or, as RFC 9110 has it too, a date. None if it is neither."""
    value = next((value.decode("latin-1").strip() for name, value in headers if name.lower() == b"retry-after"), "")
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
        _ = parsed.raw_host
    except (httpx.InvalidURL, UnicodeError) as error:
        raise not_http() from error
    check_url(parsed)
    return parsed
