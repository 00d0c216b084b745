"""What the clients of OpenAI-compatible servers share: where to ask, when to ask again, what the server said."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from tenacity import RetryCallState, wait_exponential_jitter

_LATER = {408, 425, 429}
MESSAGE_CHARS = 200


class RetryLater(Exception):
    """The server may do better later; it may have said when."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


def address(base_url: str, path: str) -> tuple[str, tuple[str, str] | None]:
    """Where *path* is, as it may be logged; and user and password, if the URL has them. Raises httpx.InvalidURL."""
    parsed = httpx.URL(base_url)
    url = parsed.copy_with(userinfo=b"", path=f"{parsed.path.rstrip('/')}/{path}")
    return str(url), (parsed.username, parsed.password) if parsed.userinfo else None


def is_for_later(status: int) -> bool:
    return status in _LATER or status >= 500


def pause_seconds(state: RetryCallState) -> float:
    """What the server asked for; else growing pauses with some chance in them."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_seconds if isinstance(error, RetryLater) else None
    return _backoff_seconds(state) if asked is None else asked


def retry_after_seconds(headers: httpx.Headers) -> float | None:
    """Seconds or a date, by RFC 9110, section 10.2.3. None where it is neither."""
    value = headers.get("Retry-After", "")
    with suppress(ValueError):
        return max(0.0, float(value))
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def server_message(content: bytes, *, max_chars: int = MESSAGE_CHARS) -> str:
    """The server's own words, shortened. OpenAI nests them, TEI and FastAPI do not."""
    try:
        body = json.loads(content)
        told = body.get("error", body)
        text = told.get("message") or body.get("detail") or told if isinstance(told, dict) else told
    except (ValueError, AttributeError, RecursionError):
        text = content.decode("utf-8", "replace")
    return " ".join(str(text).split())[:max_chars]


_backoff_seconds = wait_exponential_jitter(multiplier=0.25, max=8, jitter=0.25)
