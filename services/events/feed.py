"""Passes new events on to all who follow them in this process, who cost one query together, not one each.

A follower has a place in the log and no queue: what is new it takes from the feed's memory of recent events, and if it
is too slow for that, from the database. So followers that never read take no memory. All of this runs on the event
loop, and only the reading in threads; without followers nothing runs.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

from errors import Overloaded
from services.events.job_states import JobState, job_states
from services.events.reading import EVENTS_PER_STEP, EventFilter, EventReader, RecordedEvent

log = logging.getLogger(__name__)

R = TypeVar("R")

READING_THREADS = 2
POLL_SECONDS = 0.25
POLL_SECONDS_AFTER_ERROR = 2.0
MOST_RECENT = 2000
EVENTS_PER_BATCH = 200
LONGEST_SILENCE_SECONDS = 5.0


class _Look(NamedTuple):
    """What a look into the database has shown: new events, up to which number they are all, and jobs."""

    events: list[RecordedEvent]
    position: int
    jobs: dict[str, JobState]


class Batch(NamedTuple):
    """What a follower has not seen. *is_last*: there was no more at that time."""

    events: list[RecordedEvent]
    is_last: bool


class EventFeed:
    """Belongs to one event loop. *most_followers* limits streams and waiting requests together.

    *position*: the log is complete up to there, and passed on. *began_behind*: what happened later happened after the
    first follower came, even if a long transaction kept the log from being complete up to there.
    """

    def __init__(self, reader: EventReader, *, most_followers: int) -> None:
        self.reader = reader
        self.most_followers = most_followers
        self.is_closing = False
        self.position = 0
        self.began_behind = 0
        self.jobs: dict[str, JobState] = {}
        self._recent: deque[RecordedEvent] = deque()
        self._recent_after = 0
        self._followers = 0
        self._watched: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._beginning = asyncio.Lock()
        self._polling: asyncio.Task[None] | None = None
        self._until = 0
        self._threads = ThreadPoolExecutor(READING_THREADS, "events")

    @asynccontextmanager
    async def following(self, *, job_id: str | None = None) -> AsyncIterator[int]:
        """Follow the feed, and the state of a job, inside the block. Yields the place in the log where it begins.

        Raises Overloaded.
        """
        if self._followers >= self.most_followers or self.is_closing:
            raise Overloaded(
                f"This process has {self.most_followers} streams of events and waiting requests already "
                "(MAX_EVENT_STREAMS), or is stopping: try again."
            )
        self._followers += 1
        self._watched.update(filter(None, [job_id]))
        try:
            await self._begin()
            yield self.position
        finally:
            self._followers -= 1
            self._watched -= Counter(filter(None, [job_id]))
            if not self._followers:
                self._end()

    async def batches(self, event_filter: EventFilter, after: int) -> AsyncGenerator[Batch, None]:
        """The chosen events behind *after*, without a gap; an empty batch when anything else has changed, and after
        LONGEST_SILENCE_SECONDS. Ends when the process stops.
        """
        while not self.is_closing:
            changed = self._changed
            events, after = await self._behind(event_filter, after)
            is_last = after >= self.position
            yield Batch(events, is_last)
            if is_last:
                await self._wait(changed, LONGEST_SILENCE_SECONDS)

    async def wait_for_end(self, job_id: str, *, seconds: float) -> None:
        """Returns when the job, which is being followed, has ended, or the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.is_closing and not self._has_ended(job_id):
                    await self._changed.wait()

    def close(self) -> None:
        """Let all streams and waits end, because the process stops."""
        self.is_closing = True
        self._notify()

    def shut_down(self) -> None:
        """Waits for reads whose follower has left meanwhile: the database may be closed after it."""
        self._threads.shutdown(cancel_futures=True)

    async def _in_thread(self, read: Callable[..., R], *arguments: Any, **named: Any) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(read, *arguments, **named))

    def _has_ended(self, job_id: str) -> bool:
        state = self.jobs.get(job_id)
        return state is not None and state.outcome is not None

    async def _behind(self, event_filter: EventFilter, after: int) -> tuple[list[RecordedEvent], int]:
        if after >= self.position:
            return [], after
        if after >= self._recent_after:
            start = bisect_right(self._recent, after, key=lambda event: event.number)
            return [event for event in list(self._recent)[start:] if event_filter.admits(event)], self.position
        page = self.reader.page
        return await self._in_thread(page, event_filter, after=after, until=self.position, limit=EVENTS_PER_BATCH)

    async def _begin(self) -> None:
        async with self._beginning:
            if self._polling is None:
                self.position, self.began_behind = await self._in_thread(self._first_place)
                self._recent_after = self.position
                self._polling = asyncio.create_task(self._poll())

    def _first_place(self) -> tuple[int, int]:
        """Where the log is complete, and where it ends, which is later if a transaction writes events for long."""
        position = self.reader.horizon.settled()
        return position, max(position, self.reader.horizon.last_number())

    def _end(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            self._polling = None
        self._recent.clear()
        self.jobs = {}

    async def _poll(self) -> None:
        while True:
            try:
                self._take(await self._in_thread(self._look, self.position, list(self._watched)))
                pause = POLL_SECONDS
            except Exception as error:
                log.error("could not look for events, trying again: %s", error)
                pause = POLL_SECONDS_AFTER_ERROR
            if self.position >= self._until:
                await asyncio.sleep(pause)

    def _look(self, after: int, job_ids: list[str]) -> _Look:
        """In a thread."""
        self._until = self.reader.horizon.advance()
        events, position = list[RecordedEvent](), after
        if self._until > after:
            limit = EVENTS_PER_STEP
            events, position = self.reader.page(EventFilter(), after=after, until=self._until, limit=limit)
        return _Look(events, position, job_states(self.reader.database, job_ids) if job_ids else {})

    def _take(self, look: _Look) -> None:
        has_changed = bool(look.events) or look.jobs != self.jobs
        self._recent.extend(look.events)
        while len(self._recent) > MOST_RECENT:
            self._recent_after = self._recent.popleft().number
        self.position, self.jobs = look.position, look.jobs
        if has_changed:
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait(self, changed: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()
