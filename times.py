"""Times as the service takes and keeps them: aware, in UTC, and such as every database and driver can hold.

The one place that brings a time to UTC and says how far times reach. Two years lie between its ends and those of the
calendar: a Postgres shows a time in a zone of its own, and no driver can read a year 0 or 10000.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EARLIEST = datetime(2, 1, 1, tzinfo=UTC)
LATEST = datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)


def in_utc(time: datetime) -> datetime:
    """The same moment in UTC. Raises ValueError for a time without a zone, or one that the calendar has not in UTC."""
    if time.utcoffset() is None:
        raise ValueError("a time with its zone is needed, such as 2030-01-31T12:00:00Z")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(_OUT_OF_REACH) from error


def storable(time: datetime) -> datetime:
    """The same moment as it may be stored. Raises ValueError as in_utc() does, and for one that is out of reach."""
    moment = in_utc(time)
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(_OUT_OF_REACH)
    return moment


def shifted(time: datetime, *, days: float = 0.0, seconds: float = 0.0) -> datetime:
    """So much later, earlier where it is negative; EARLIEST or LATEST where that is out of reach."""
    try:
        moment = time + timedelta(days=days, seconds=seconds)
    except OverflowError:
        return LATEST if days + seconds > 0 else EARLIEST
    return min(max(moment, EARLIEST), LATEST)


_OUT_OF_REACH = f"a time is needed that in UTC lies between the years {EARLIEST.year} and {LATEST.year}"
