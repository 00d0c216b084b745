"""Shared by the clients of OpenAI-compatible servers: URLs, retries, error messages."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from tenacity import RetryCallState, wait_exponential_jitter

_RETRYABLE_STATUSES = {408, 425, 429}
MESSAGE_CHARS = 200


class RetryLater(Exception):
    """The request may succeed later, after *retry_after_seconds* if the server said so."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


def address(base_url: str, path: str) -> tuple[str, tuple[str, str] | None]:
    """The URL of *path*, without secrets, and the user and password of *base_url*, if any. Raises httpx.InvalidURL."""
    parsed = httpx.URL(base_url)
    url = parsed.copy_with(userinfo=b"", path=f"{parsed.path.rstrip('/')}/{path}")
    return str(url), (parsed.username, parsed.password) if parsed.userinfo else None


def is_retryable(status: int) -> bool:
    return status in _RETRYABLE_STATUSES or status >= 500


def pause_seconds(state: RetryCallState) -> float:
    """The pause that the server requested, else exponential backoff with jitter."""
    error = state.outcome.exception() if state.outcome else None
    requested = error.retry_after_seconds if isinstance(error, RetryLater) else None
    return _backoff_seconds(state) if requested is None else requested


def retry_after_seconds(headers: httpx.Headers) -> float | None:
    """Seconds or a date, by RFC 9110, section 10.2.3; None for anything else."""
    value = headers.get("Retry-After", "")
    with suppress(ValueError):
        return max(0.0, float(value))
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def server_message(content: bytes, *, max_chars: int = MESSAGE_CHARS) -> str:
    """The server's error message, shortened. OpenAI nests it, TEI and FastAPI do not."""
    try:
        body = json.loads(content)
        detail = body.get("error", body)
        text = detail.get("message") or body.get("detail") or detail if isinstance(detail, dict) else detail
    except (ValueError, AttributeError, RecursionError):
        text = content.decode("utf-8", "replace")
    return " ".join(str(text).split())[:max_chars]


_backoff_seconds = wait_exponential_jitter(multiplier=0.25, max=8, jitter=0.25)
