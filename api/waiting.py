"""?wait=true: a request that answers when its job has ended. It holds no thread and no connection meanwhile."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from fastapi import Depends, Query

from domain import ListedStatus
from errors import Invalid, ServiceError
from runtime.parts import Runtime

LONGEST_WAIT_SECONDS = 60.0
DEFAULT_WAIT_SECONDS = 30.0


async def _seconds(
    *,
    wait: Annotated[bool, Query(description="Answer when the job has ended, or the time is up")] = False,
    timeout_seconds: Annotated[
        float | None, Query(ge=0, le=LONGEST_WAIT_SECONDS, description="With wait: the time; left out: 30")
    ] = None,
) -> float | None:
    if timeout_seconds is not None and not wait:
        raise Invalid("timeout_seconds says how long to wait: send wait=true too.", param="timeout_seconds")
    if not wait:
        return None
    return DEFAULT_WAIT_SECONDS if timeout_seconds is None else timeout_seconds


WaitSeconds = Annotated[float | None, Depends(_seconds)]
"""None: the request does not wait."""


async def wait_for_end(runtime: Runtime, job_id: str, seconds: float) -> ListedStatus | None:
    """Returns how the job has ended; None if it has not in that time. Raises Overloaded."""
    feed = runtime.events.feed
    async with feed.following(job_id=job_id):
        await feed.wait_for_end(job_id, seconds=seconds)
        state = feed.jobs.get(job_id)
    return None if state is None else state.outcome


async def outcome_in_time(runtime: Runtime, job_id: str | None, seconds: float) -> ListedStatus | None:
    """Likewise, for a job that was accepted just now: what was accepted is answered, even if waiting is impossible."""
    with suppress(ServiceError):
        return None if job_id is None else await wait_for_end(runtime, job_id, seconds)
    return None
