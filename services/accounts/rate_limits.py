"""How often a key and a team may ask, and an address fail to: counted in memory, or in a Redis that processes share.

A window begins with its first request. A counter that cannot be reached lets everybody through, and says so in the
log: the service that it protects is worth more than the count.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
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
PLACES = 1 << 16
SITE_BITS = 64


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
        if self.is_on:
            self._counter = _Counter(url)
            self._per_key = _parsed("RATE_LIMIT_PER_KEY", per_key)
            self._per_team = _parsed("RATE_LIMIT_PER_TEAM", per_team)

    def hit(self, who: Principal) -> Quota | None:
        """Count a request. Returns what is left of the limit that is nearest to its end; raises RateLimited."""
        if not self.is_on or who.key_id is None:
            return None
        wanted = [("key", who.key_id, item) for item in self._per_key]
        wanted += [("team", str(who.team_id), item) for item in self._per_team]
        quotas: list[Quota] = []
        for kind, whose, item in wanted:
            counted = self._counter.hit(kind, whose, item)
            if counted is None:
                return None
            is_within, quota = counted
            if not is_within:
                why = f"This {kind} may ask {item} and has: ask again in {quota.seconds} s."
                raise RateLimited(why, limit=quota.limit, seconds=quota.seconds)
            quotas.append(quota)
        return min(quotas, key=lambda quota: quota.remaining)


class FailureLimiter:
    """How often an address may fail to show a good key, *per_minute*; 0: always. Good keys are no business of this.

    Addresses share so many places to be counted at, so that no number of them takes more memory than that: two at one
    place are counted as one. hit() waits for the network unless *is_local*.
    """

    def __init__(self, *, per_minute: int, url: str) -> None:
        self.is_on = per_minute > 0
        self.is_local = url.startswith(IN_MEMORY)
        if self.is_on:
            self._counter = _Counter(url)
            [self._limit] = _parsed("AUTH_FAILURES_PER_MINUTE", f"{per_minute}/minute")

    def hit(self, address: str) -> None:
        """Count a failure. Raises RateLimited beyond the limit."""
        counted = self._counter.hit("failures", _place_of(address), self._limit) if self.is_on else None
        if counted is None:
            return
        is_within, quota = counted
        if not is_within:
            raise RateLimited(
                f"From this address {quota.limit} requests in a minute came without a good API key. One with a good "
                f"key is answered; others in {quota.seconds} s again.",
                limit=quota.limit,
                seconds=quota.seconds,
            )
        if quota.remaining == 0:
            log.warning("from %r %d requests in a minute came without a good API key", address, quota.limit)


class _Counter:
    """While its store cannot be reached it counts nothing, and asks it again every few seconds."""

    def __init__(self, url: str) -> None:
        self._windows = _windows(url)
        self._silent_until = 0.0

    def hit(self, kind: str, whose: str, item: RateLimitItem) -> tuple[bool, Quota] | None:
        """Count one. Returns whether it is within the limit, and what is left; None: nobody can tell."""
        from limits.errors import StorageError

        if time.monotonic() < self._silent_until:
            return None
        try:
            is_within = self._windows.hit(item, kind, whose)
            window = self._windows.get_window_stats(item, kind, whose)
        except StorageError as error:
            self._silent_until = time.monotonic() + RETRY_SECONDS
            log.error("RATE_LIMIT_URL cannot be reached, so nobody is limited: %s", type(error.storage_error).__name__)
            return None
        return is_within, Quota(item.amount, window.remaining, max(1, math.ceil(window.reset_time - time.time())))


def _place_of(address: str) -> str:
    """Of IPv6 a site's addresses are one: whoever has one has all of them."""
    try:
        parsed = ip_address(address)
    except ValueError:
        who = address
    else:
        parsed = (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed
        who = str(int(parsed) >> SITE_BITS) + "::" if isinstance(parsed, IPv6Address) else str(parsed)
    return str(int.from_bytes(hashlib.sha256(who.encode()).digest()[:8]) % PLACES)


def _windows(url: str) -> FixedWindowRateLimiter:
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
