"""The worker's chores: periodic work beside the jobs, each with its interval."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread

from runtime.parts import Runtime
from scratch import sweep_scratch

log = logging.getLogger(__name__)

MINUTE = 60.0


@dataclass
class Chore:
    """Work to do every *seconds*; *due_at* is on the monotonic clock."""

    do: Callable[[], object]
    seconds: float
    due_at: float = 0.0


class InBackground:
    """A chore that takes long: in a thread of its own, so that jobs go on, and never twice at once."""

    def __init__(self, do: Callable[[], object]) -> None:
        self._do = do
        self._thread: Thread | None = None

    def __call__(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._run, name="chore", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._do()
        except Exception as error:
            log.error("a chore failed, and is tried again: %s", error)


class Housekeeping:
    """One worker's chores. A chore that fails is retried after its interval, and does not hold up the others."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, settings, queue = runtime, runtime.settings, runtime.queue
        grace_seconds = 3600 * settings.blob_grace_hours
        self.chores = [
            Chore(lambda: queue.prune(settings.job_keep_days), MINUTE),
            Chore(self._prune_events, MINUTE),
            Chore(runtime.operations.idempotency.prune, MINUTE),
            Chore(lambda: runtime.answers.query_log.prune(settings.query_log_keep_days), MINUTE),
            Chore(runtime.erasure.purging.purge, MINUTE),
            Chore(sweep_scratch, MINUTE),
            Chore(runtime.erasure.erasing.drop_shells, MINUTE),
            Chore(lambda: runtime.operations.audit.prune(settings.audit_keep_days), MINUTE),
            Chore(lambda: runtime.ingest.pending_blobs.sweep(grace_seconds=grace_seconds), MINUTE),
            Chore(runtime.stores.files.sweep, MINUTE),
            Chore(runtime.stores.uploads.sweep, MINUTE),
            Chore(runtime.stores.expiry.sweep, MINUTE),
            Chore(lambda: runtime.stores.batches.prune(settings.job_keep_days), MINUTE),
        ]
        if settings.text_compression == "zstd":
            self.chores.append(Chore(InBackground(runtime.operations.compressing.run), MINUTE))
        if settings.backup_url:
            self.chores.append(Chore(InBackground(runtime.operations.backups.run_if_due), MINUTE))

    def _prune_events(self) -> None:
        """Deliveries name events, so they go first."""
        days, webhooks = self.runtime.settings.events_keep_days, self.runtime.events.webhooks
        webhooks.outbox.prune(days)
        self.runtime.events.reader.prune(days, needed=webhooks.outbox.oldest_needed())

    def run_due_chores(self) -> None:
        for chore in self.chores:
            if time.monotonic() >= chore.due_at:
                chore.due_at = time.monotonic() + chore.seconds
                chore.do()
