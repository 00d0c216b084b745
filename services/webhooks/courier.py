"""The threads of a worker that deliver webhooks, beside its jobs: a receiver that hangs keeps no job waiting.

Receivers that fail share some threads, and those that work the others, so that no number of dead ones delays the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Event, Thread

from logs import actor
from services.webhooks.delivering import DeliveringService
from services.webhooks.outbox import HookClaim

log = logging.getLogger(__name__)

THREADS = 4
"""For receivers that work, and as many for those that fail."""
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Courier:
    delivering: DeliveringService
    is_stopping: Event = field(default_factory=Event, repr=False)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Delivers while the block runs. At its end the tries of that moment end too, each within its own time."""
        dispatcher = Thread(target=self._dispatch, name="webhooks", daemon=True)
        dispatcher.start()
        try:
            yield
        finally:
            self.is_stopping.set()
            dispatcher.join()

    def deliver_due(self) -> int:
        """Deliver all that is due, here and now. Returns how many deliveries were tried."""
        count, outbox = 0, self.delivering.outbox
        for are_failing in (False, True):
            while (claim := outbox.claim(outbox.horizon.settled(), are_failing=are_failing)) is not None:
                count += self.delivering.serve(claim, self.is_stopping)
        return count

    def _dispatch(self) -> None:
        actor.set("worker")
        free = {False: BoundedSemaphore(THREADS), True: BoundedSemaphore(THREADS)}
        with ThreadPoolExecutor(2 * THREADS, "webhook", initializer=actor.set, initargs=("worker",)) as pool:
            while not self.is_stopping.wait(POLL_SECONDS):
                try:
                    self._hand_out(pool, free)
                except Exception as error:
                    log.error("could not look for deliveries of webhooks, trying again: %s", error)

    def _hand_out(self, pool: ThreadPoolExecutor, free: dict[bool, BoundedSemaphore]) -> None:
        outbox = self.delivering.outbox
        if not outbox.is_used():
            return
        until = outbox.horizon.advance()
        for are_failing, slots in free.items():
            while slots.acquire(blocking=False):
                claim = None
                try:
                    claim = outbox.claim(until, are_failing=are_failing)
                finally:
                    if claim is None:
                        slots.release()
                if claim is None:
                    break
                pool.submit(self._serve, claim, slots)

    def _serve(self, claim: HookClaim, slots: BoundedSemaphore) -> None:
        try:
            self.delivering.serve(claim, self.is_stopping)
        except Exception as error:  # its lease ends by itself, and the next turn goes on from there
            log.error("webhook %s: %s", claim.webhook_id, error)
        finally:
            slots.release()
