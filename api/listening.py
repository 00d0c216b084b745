"""Where this process listens, read from its own sockets: servers do not tell the app."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

OPEN_FILES = Path("/dev/fd")
INTERNET = (socket.AF_INET, socket.AF_INET6)


def reachable_addresses() -> list[str] | None:
    """The addresses and ports beyond loopback that accept connections; None: it listens nowhere yet."""
    sockets = list(_listening())
    return [f"{host}:{port}" for host, port in sockets if not ip_address(host).is_loopback] if sockets else None


def _listening() -> Iterator[tuple[str, int]]:
    with suppress(FileNotFoundError):  # a system without it
        for file in OPEN_FILES.iterdir():
            with suppress(OSError):  # no socket, or closed meanwhile
                each = socket.socket(fileno=int(file.name))
                try:
                    if each.family in INTERNET and each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        host, port, *_ = each.getsockname()
                        yield host.partition("%")[0], port
                finally:
                    each.detach()  # it belongs to the server
