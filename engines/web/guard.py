"""Prevents server-side request forgery: of the servers that others name, only public addresses are reached.

It connects to the very address that it checked, so DNS rebinding gains nothing. No proxies are used.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

from engines.web.addresses import AllowedHosts, parse_address
from errors import FetchFailed, Invalid

MAX_PORT = 65_535
NETWORK_ERRORS = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol)


def permitted_addresses(allowed: AllowedHosts, host: str, port: int) -> list[str]:
    """Resolves a name once. Raises FetchFailed if it has no address, and Invalid unless all of them are permitted."""
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchFailed("The host in the URL has no address: is its name right?") from error
    addresses = list(dict.fromkeys(str(each[4][0]) for each in entries))
    if not all(allowed.permits(host, parse_address(each)) for each in addresses):
        raise Invalid(
            f"{host} has no public address, and internal networks are not called. An operator can allow it "
            "(FETCH_ALLOW_HOSTS).",
            param="url",
        )
    return addresses


def check_url(url: httpx.URL) -> None:
    """Applied to every URL, redirects included."""
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > MAX_PORT:
        raise not_http()
    if url.userinfo:
        raise Invalid("A URL with a user and a password in it is not called: leave them out.", param="url")


def not_http() -> Invalid:
    return Invalid("Only http:// and https:// URLs with a host are called.", param="url")


class CheckedBackend(httpcore.NetworkBackend):
    """Resolves a name once, checks all its addresses, and connects to one of them."""

    def __init__(self, allowed: AllowedHosts, deadline: float) -> None:
        self._allowed = allowed
        self._deadline = deadline
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
        for address in permitted_addresses(self._allowed, host, port):
            try:
                seconds = _seconds_left(self._deadline, timeout)
                stream = self._backend.connect_tcp(address, port, seconds, local_address, socket_options)
                return _TimedStream(stream, self._deadline)
            except httpcore.ConnectError as connect_error:
                error = connect_error
        raise error


class _TimedStream(httpcore.NetworkStream):
    """Applies the deadline to every read and write, so that a slow server cannot extend it."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _seconds_left(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _seconds_left(self._deadline, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _TimedStream(
            self._stream.start_tls(ssl_context, server_hostname, _seconds_left(self._deadline, timeout)), self._deadline
        )

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _seconds_left(deadline: float, timeout: float | None) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise httpcore.ReadTimeout
    return seconds if timeout is None else min(seconds, timeout)
