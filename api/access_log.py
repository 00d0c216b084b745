"""A line of the log per request, written by a thread: a request waits neither for the line nor for who reads it."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from urllib.parse import parse_qs

import logs
from metrics import LOGS_DROPPED

log = logging.getLogger(__name__)

MOST_WAITING = 10_000
STOP_SECONDS = 2.0
GATHER_SECONDS = 0.05
"""How long the thread waits for more lines after the first: waking it costs a request more than the line."""

LONGEST_TENANT = 256
NO_ROUTE = "(no route)"
CLIENT_LEFT = 499
PROBES = {"/v1/health", "/v1/health/live", "/v1/health/ready", "/metrics"}


@dataclass(frozen=True, slots=True)
class Access:
    """A request that was answered. *status* is CLIENT_LEFT if the client left before the answer began.

    *tenant* is None if only the *query* may name it, which the thread then parses.
    """

    request_id: str
    method: str
    route: str
    tenant: str | None
    query: bytes
    status: int
    milliseconds: float
    at: float = field(default_factory=time.time)

    @property
    def level(self) -> int:
        """A refusal is the client's affair, a failure ours; probes of a healthy service are noise."""
        if self.status >= 500:
            return logging.ERROR
        return logging.DEBUG if self.route in PROBES else logging.INFO

    def record(self) -> logging.LogRecord:
        tenant, ms = self.tenant or _tenant_in(self.query), round(self.milliseconds, 1)
        message = f"{self.method} {self.route} {_printable(tenant)} {self.status} {ms} ms"
        fields = {"method": self.method, "route": self.route, "tenant": tenant, "status": self.status, "ms": ms}
        level = {"levelno": self.level, "levelname": logging.getLevelName(self.level)}
        about = {"name": "access", "created": self.at, "msecs": self.at % 1 * 1000, "request_id": self.request_id}
        return logging.makeLogRecord({**level, **about, "msg": message, "fields": fields})


class AccessLog:
    """Created by running(). If stderr is not read, lines beyond MOST_WAITING are dropped, and counted in the log."""

    def __init__(self, level: int, handler: logging.Handler) -> None:
        self._level, self._handler = level, handler
        self._waiting: deque[Access] = deque()
        self._has_lines, self._is_stopping = Event(), Event()
        self._dropped = self._reported = 0

    @classmethod
    @contextmanager
    def running(cls, level: str, format: logs.Format) -> Iterator[AccessLog]:
        accesses = cls(logging.getLevelNamesMapping()[level], logs.handler(format))
        thread = Thread(target=accesses._write, name="access-log", daemon=True)
        thread.start()
        try:
            yield accesses
        finally:
            accesses._is_stopping.set()
            accesses._has_lines.set()
            thread.join(STOP_SECONDS)

    def add(self, access: Access) -> None:
        """Never blocks, and costs some microseconds."""
        if access.level < self._level:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
            LOGS_DROPPED.labels("accesses").inc()
            return
        self._waiting.append(access)
        if not self._has_lines.is_set():
            self._has_lines.set()

    def _write(self) -> None:
        is_stopping = False
        while not is_stopping:
            self._has_lines.wait()
            is_stopping = self._is_stopping.wait(GATHER_SECONDS)
            self._has_lines.clear()
            while self._waiting:
                self._handler.handle(self._waiting.popleft().record())
            self._report()

    def _report(self) -> None:
        dropped = self._dropped - self._reported
        if dropped:
            log.warning("%d lines about requests were dropped: nobody read stderr", dropped)
        self._reported += dropped


def _tenant_in(query: bytes) -> str | None:
    values = parse_qs(query.decode("latin-1")).get("tenant_id", [])
    return values[0][:LONGEST_TENANT] if values else None


def _printable(tenant: str | None) -> str:
    """One word, so that lines can be split at spaces."""
    if not tenant:
        return "-"
    return tenant if tenant.isprintable() and " " not in tenant else json.dumps(tenant).replace(" ", "\\u0020")
