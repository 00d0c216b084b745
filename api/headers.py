"""The headers that say how much of a rate limit is left."""

from __future__ import annotations

from collections.abc import Mapping

RATE_LIMIT = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


def rate_limit_headers(limit: int, *, remaining: int, seconds: int) -> Mapping[str, str]:
    """*seconds*: until the whole limit is available again."""
    return dict(zip(RATE_LIMIT, map(str, (limit, remaining, seconds)), strict=True))
