"""The log of a process: a line per event on stderr, as text or as JSON, with the id of the request that caused it."""

from __future__ import annotations

import json
import logging
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

Format = Literal["text", "json"]

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request that is being answered or, in a worker, of the one that created the job."""

actor: ContextVar[str] = ContextVar("actor", default="service")
"""Who acts, for the audit log: key:<id>, anyone (AUTH_MODE=open), manage.py:<user of the machine>, worker."""


def log_to_stderr(level: str, format: Format) -> None:
    """Has no effect where the log is configured already, as in tests."""
    logging.basicConfig(level=level, handlers=[handler(format)])


def handler(format: Format) -> logging.Handler:
    writing = logging.StreamHandler()
    writing.addFilter(_add_request_id)
    writing.setFormatter(JsonLines() if format == "json" else TextLines())
    return writing


class TextLines(logging.Formatter):
    """2026-11-21T09:23:37.543Z INFO [request id] message. A traceback follows on lines of its own."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s [%(request_id)s] %(message)s")


class JsonLines(logging.Formatter):
    """An object per line, a traceback included. A record's *fields* are members of their own."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "request_id": getattr(record, "request_id", None),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _add_request_id(record: logging.LogRecord) -> bool:
    if not hasattr(record, "request_id"):
        record.request_id = request_id.get() or "-"
    return True
