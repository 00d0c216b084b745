"""How often a key, and how often a team, may ask: counted in memory, or in a Redis that processes share.

A window begins with its first request. A counter that cannot be reached lets everybody through, and says so in the
log: the service that it protects is worth more than the count.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain import Principal
from errors import Invalid, RateLimited

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import FixedWindowRateLimiter

log = logging.getLogger(__name__)

IN_MEMORY = "memory://"
PATIENCE_SECONDS = 0.5
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of a limit, and in how many seconds all of it is there again."""

    limit: int
    remaining: int
    seconds: int


class RateLimiter:
    """*per_key* and *per_team* are limits in the words of the library: ``20/second; 600/minute``; empty: none.

    hit() waits for the network unless *is_local*.
    """

    def __init__(self, *, per_key: str, per_team: str, url: str) -> None:
        self.is_on = bool(per_key or per_team)
        self.is_local = url.startswith(IN_MEMORY)
        self._silent_until = 0.0
        if self.is_on:
            self._counter = _counter(url)
            self._per_key = _parsed("RATE_LIMIT_PER_KEY", per_key)
            self._per_team = _parsed("RATE_LIMIT_PER_TEAM", per_team)

    def hit(self, who: Principal) -> Quota | None:
        """Count a request. Returns what is left of the limit that is nearest to its end; raises RateLimited."""
        if not self.is_on or who.key_id is None or time.monotonic() < self._silent_until:
            return None
        from limits.errors import StorageError

        wanted = [("key", who.key_id, item) for item in self._per_key]
        wanted += [("team", str(who.team_id), item) for item in self._per_team]
        try:
            quotas = [self._hit_one(*each) for each in wanted]
        except StorageError as error:
            self._silent_until = time.monotonic() + RETRY_SECONDS
            log.error("RATE_LIMIT_URL cannot be reached, so nobody is limited: %s", type(error.storage_error).__name__)
            return None
        return min(quotas, key=lambda quota: quota.remaining)

    def _hit_one(self, kind: str, whose: str, item: RateLimitItem) -> Quota:
        is_within = self._counter.hit(item, kind, whose)
        window = self._counter.get_window_stats(item, kind, whose)
        seconds = max(1, math.ceil(window.reset_time - time.time()))
        if not is_within:
            raise RateLimited(
                f"This {kind} may ask {item} and has: ask again in {seconds} s.", limit=item.amount, seconds=seconds
            )
        return Quota(item.amount, window.remaining, seconds)


def _counter(url: str) -> FixedWindowRateLimiter:
    from limits.errors import ConfigurationError
    from limits.storage import Storage, storage_from_string
    from limits.strategies import FixedWindowRateLimiter

    options = {} if url.startswith(IN_MEMORY) else {"socket_timeout": PATIENCE_SECONDS}
    try:
        storage = storage_from_string(url, wrap_exceptions=True, **options)
    except (ConfigurationError, ValueError) as error:
        raise Invalid("RATE_LIMIT_URL must be memory:// or redis://host:port/number.") from error
    assert isinstance(storage, Storage)
    return FixedWindowRateLimiter(storage)


def _parsed(name: str, told: str) -> list[RateLimitItem]:
    from limits import parse_many

    try:
        return parse_many(told) if told else []
    except ValueError as error:
        raise Invalid(f"{name}={told!r} is no limit: 600/minute, or 20/second; 5000/hour.") from error
