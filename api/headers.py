"""Headers that several routes answer with."""

from __future__ import annotations

from collections.abc import Mapping

RATE_LIMIT = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")

NOT_BUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Of an answer that is read while it is written: no proxy keeps it back."""


def rate_limit_headers(limit: int, *, remaining: int, seconds: int) -> Mapping[str, str]:
    """*seconds*: until the whole limit is available again."""
    return dict(zip(RATE_LIMIT, map(str, (limit, remaining, seconds)), strict=True))
