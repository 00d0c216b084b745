"""A claim that is kept alive while the work is done: check, step and heartbeat."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event
from typing import Protocol

from sqlalchemy.orm import Session

from errors import GivesWay, JobCancelled, LostLease, ServiceError, WorkerStopping
from job_queue.claims import CANCELLED, Claim, lost
from models import Json

log = logging.getLogger(__name__)


class Renewing(Protocol):
    """What a lease asks of its queue."""

    lease_seconds: float
    slice_seconds: float

    def others_wait(self, claim: Claim) -> bool: ...

    def renew(self, claim: Claim) -> bool: ...

    def step(self, claim: Claim, *, progress: int, result: Json) -> AbstractContextManager[Session]: ...


class Lease:
    """A claim that is kept alive. Whoever does the work asks it at every step whether to go on."""

    def __init__(self, queue: Renewing, claim: Claim, stopping: Event) -> None:
        self.queue = queue
        self.claim = claim
        self.stopping = stopping
        self.is_over = Event()
        self._slice_ends = time.monotonic() + queue.slice_seconds
        self._why_not: ServiceError | None = None

    def check(self) -> None:
        """Raise LostLease, JobCancelled or WorkerStopping when the work should end here."""
        if self._why_not is not None:
            raise self._why_not
        if self.stopping.is_set():
            raise WorkerStopping(f"The worker stops; job {self.claim.job_id} goes back to the queue.")

    def give_way(self) -> None:
        """As check(); and raise GivesWay when the job has had its slice of the worker and another tenant's job waits.

        To be called behind a step and before the next, where all that was done is committed: the job begins again
        from there, and gets at least one step further in each of its turns.
        """
        self.check()
        if time.monotonic() >= self._slice_ends and self.queue.others_wait(self.claim):
            raise GivesWay(f"Job {self.claim.job_id} lets another tenant's go first.")

    @contextmanager
    def step(self, progress: int, result: Json) -> Iterator[Session]:
        """As JobQueue.step, after check()."""
        self.check()
        with self.queue.step(self.claim, progress=progress, result=result) as session:
            yield session

    def beat(self) -> None:
        """Renew at a third of the lease, until the work is over or the job is lost.

        A lease that could not be renewed for its whole length is as good as lost: another worker may have it.
        """
        renewed_at = time.monotonic()
        while not self.is_over.wait(self.queue.lease_seconds / 3):
            try:
                if self.queue.renew(self.claim):
                    self._why_not = JobCancelled(CANCELLED)
                renewed_at = time.monotonic()
            except LostLease as error:
                self._why_not = error
                return
            except Exception:
                log.exception("could not renew the lease of job %s", self.claim.job_id)
                if time.monotonic() - renewed_at > self.queue.lease_seconds:
                    self._why_not = lost(self.claim)
