"""Times as the service accepts and stores them: aware, in UTC, within a range that every database and driver can hold.

The only place that converts to UTC and defines that range. It ends about two years before the calendar does: Postgres
may return a time in another zone, and no driver can read a year 0 or 10000.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EARLIEST = datetime(2, 1, 1, tzinfo=UTC)
LATEST = datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)


def in_utc(time: datetime) -> datetime:
    """The same moment in UTC. Raises ValueError for a time without a zone, or outside the calendar when in UTC."""
    if time.utcoffset() is None:
        raise ValueError("a time with its zone is needed, such as 2030-01-31T12:00:00Z")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(_OUT_OF_RANGE) from error


def storable(time: datetime) -> datetime:
    """The same moment in UTC. Raises ValueError as in_utc() does, and for one out of range."""
    moment = in_utc(time)
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(_OUT_OF_RANGE)
    return moment


def shifted(time: datetime, *, days: float = 0.0, seconds: float = 0.0) -> datetime:
    """The time plus days and seconds, either may be negative; clamped to EARLIEST and LATEST."""
    try:
        moment = time + timedelta(days=days, seconds=seconds)
    except OverflowError:
        return LATEST if days * 86_400 + seconds > 0 else EARLIEST
    return min(max(moment, EARLIEST), LATEST)


_OUT_OF_RANGE = f"a time is needed that in UTC lies between the years {EARLIEST.year} and {LATEST.year}"
