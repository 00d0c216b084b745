"""Rate limits of keys, teams and failing addresses, counted in memory or in a Redis that processes share.

A window begins with its first request. If the counter cannot be reached, nobody is limited, and an error is logged: the
service's availability is worth more than the count.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Sequence
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
TIMEOUT_SECONDS = 0.5
RETRY_SECONDS = 5.0
BUCKETS = 1 << 16
SITE_BITS = 64


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit, the requests remaining, and the seconds until it resets."""

    limit: int
    remaining: int
    seconds: int


class RateLimiter:
    """The limits use the notation of limits: ``20/second; 600/minute``; empty means no limit.

    hit() and hit_tenant() block on the network unless *is_local*.
    """

    def __init__(self, *, per_key: str, per_team: str, per_tenant: str, url: str) -> None:
        self.is_on = bool(per_key or per_team or per_tenant)
        self.is_local = url.startswith(IN_MEMORY)
        if self.is_on:
            self._counter = _Counter(url)
            self._per_key = _parsed("RATE_LIMIT_PER_KEY", per_key)
            self._per_team = _parsed("RATE_LIMIT_PER_TEAM", per_team)
            self._per_tenant = _parsed("RATE_LIMIT_PER_TENANT", per_tenant)

    def hit(self, principal: Principal) -> Quota | None:
        """Count a request. Returns the quota with the fewest requests remaining. Raises RateLimited."""
        if not self.is_on or principal.key_id is None:
            return None
        limits = [("key", principal.key_id, item) for item in self._per_key]
        limits += [("team", str(principal.team_id), item) for item in self._per_team]
        return self._hit([*limits, *self._of_tenant(principal.tenant_id or "")])

    def hit_tenant(self, tenant_id: str) -> Quota | None:
        """The same for a request without a key (AUTH_MODE=open), by the tenant that it names."""
        return self._hit(self._of_tenant(tenant_id)) if self.is_on else None

    def _of_tenant(self, tenant_id: str) -> list[tuple[str, str, RateLimitItem]]:
        return [("tenant", hashlib.sha256(tenant_id.encode()).hexdigest(), item) for item in self._per_tenant]

    def _hit(self, limits: Sequence[tuple[str, str, RateLimitItem]]) -> Quota | None:
        quotas: list[Quota] = []
        for kind, owner, item in limits:
            counted = self._counter.hit(kind, owner, item)
            if counted is None:
                return None
            is_within, quota = counted
            if not is_within:
                message = f"This {kind} has used its limit of {item}: try again in {quota.seconds} s."
                raise RateLimited(message, limit=quota.limit, seconds=quota.seconds)
            quotas.append(quota)
        return min(quotas, key=lambda quota: quota.remaining, default=None)


class FailureLimiter:
    """Limits failed authentications per address to *per_minute*; 0 means no limit. Valid keys are not counted.

    Addresses are hashed into a fixed number of buckets, which bounds the memory: addresses in the same bucket are
    counted together. hit() blocks on the network unless *is_local*.
    """

    def __init__(self, *, per_minute: int, url: str) -> None:
        self.is_on = per_minute > 0
        self.is_local = url.startswith(IN_MEMORY)
        if self.is_on:
            self._counter = _Counter(url)
            [self._limit] = _parsed("AUTH_FAILURES_PER_MINUTE", f"{per_minute}/minute")

    def hit(self, address: str) -> None:
        """Count a failure. Raises RateLimited beyond the limit."""
        counted = self._counter.hit("failures", _bucket_of(address), self._limit) if self.is_on else None
        if counted is None:
            return
        is_within, quota = counted
        if not is_within:
            raise RateLimited(
                f"From this address {quota.limit} requests in a minute had no valid API key. Requests with a "
                f"valid key are answered; others again in {quota.seconds} s.",
                limit=quota.limit,
                seconds=quota.seconds,
            )
        if quota.remaining == 0:
            log.warning("from %r %d requests in a minute had no valid API key", address, quota.limit)


class _Counter:
    """While its storage cannot be reached it counts nothing, and retries every few seconds."""

    def __init__(self, url: str) -> None:
        self._windows = _windows(url)
        self._offline_until = 0.0

    def hit(self, kind: str, owner: str, item: RateLimitItem) -> tuple[bool, Quota] | None:
        """Count one. Returns whether it is within the limit, and the quota; None if the storage is offline."""
        from limits.errors import StorageError

        if time.monotonic() < self._offline_until:
            return None
        try:
            is_within = self._windows.hit(item, kind, owner)
            window = self._windows.get_window_stats(item, kind, owner)
        except StorageError as error:
            self._offline_until = time.monotonic() + RETRY_SECONDS
            log.error("RATE_LIMIT_URL cannot be reached, so nobody is limited: %s", type(error.storage_error).__name__)
            return None
        return is_within, Quota(item.amount, window.remaining, max(1, math.ceil(window.reset_time - time.time())))


def _bucket_of(address: str) -> str:
    """An IPv6 site (/64) counts as one address, since its owner has all of them."""
    try:
        parsed = ip_address(address)
    except ValueError:
        source = address
    else:
        parsed = (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed
        source = str(int(parsed) >> SITE_BITS) + "::" if isinstance(parsed, IPv6Address) else str(parsed)
    return str(int.from_bytes(hashlib.sha256(source.encode()).digest()[:8]) % BUCKETS)


def _windows(url: str) -> FixedWindowRateLimiter:
    from limits.errors import ConfigurationError
    from limits.storage import Storage, storage_from_string
    from limits.strategies import FixedWindowRateLimiter

    options = {} if url.startswith(IN_MEMORY) else {"socket_timeout": TIMEOUT_SECONDS}
    try:
        storage = storage_from_string(url, wrap_exceptions=True, **options)
    except (ConfigurationError, ValueError) as error:
        raise Invalid("RATE_LIMIT_URL must be memory:// or redis://host:port/number.") from error
    assert isinstance(storage, Storage)
    return FixedWindowRateLimiter(storage)


def _parsed(name: str, limits: str) -> list[RateLimitItem]:
    from limits import parse_many

    try:
        return parse_many(limits) if limits else []
    except ValueError as error:
        raise Invalid(f"{name}={limits!r} is not a limit: write 600/minute, or 20/second; 5000/hour.") from error
