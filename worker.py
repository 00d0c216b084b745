"""The worker process: claim a job, run its handler, record the outcome, repeat.

    python worker.py --poll-interval 2.0 --database-url sqlite:///./my_rag.db

Start one per spare core. SIGTERM and Ctrl-C let the current job finish, or return it to the queue if it takes too
long; a second one ends the process at once, which loses nothing either.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread, Timer
from typing import NamedTuple

gc.set_threshold(50_000, 20, 20)  # what is imported stays: looking through it after every 700 objects delays the start

try:
    from configuration import misspelt_names, settings_or_exit
except ModuleNotFoundError as error:
    sys.exit(f"worker: this Python has no {error.name}. Run script/environment once, then .venv/bin/python worker.py")
import tracing
from domain import JobStatus, Json
from errors import (
    EmbeddingRefused,
    GivesWay,
    Invalid,
    JobCancelled,
    LostLease,
    NotFound,
    ServiceError,
    VersionUnavailable,
    WorkerStopping,
)
from handlers import HANDLERS, Handler
from housekeeping import Housekeeping
from job_lease import CANCELLED, Claim, Lease
from logs import actor, log_to_stderr, request_id
from metrics import count_attempt
from runtime.exposition import figures_served
from runtime.memory import allow_open_files, give_back_memory, limit_memory
from runtime.opening import open_runtime
from runtime.parts import Runtime
from services.operations.workers import BEAT_SECONDS, WorkerService

log = logging.getLogger(__name__)

GOODBYE_SECONDS = 3.0

PERMANENT = (Invalid, NotFound, EmbeddingRefused, VersionUnavailable)


class AttemptOutcome(NamedTuple):
    """How an attempt ended: in a word, and as a line of the log at *level*."""

    kind: str
    level: int
    words: str


TAKEN_OVER = AttemptOutcome("taken_over", logging.WARNING, "was taken over by another worker")


class Presence:
    """A worker's row in the table of workers: signed on while the block runs, with a heartbeat of its own thread.

    An unreachable database keeps nobody from working or from stopping.
    """

    def __init__(self, workers: WorkerService, name: str) -> None:
        self.workers, self.name = workers, name
        self._job_type: str | None = None
        self._has_left = Event()
        self._heart = Thread(target=self._beat, name="presence", daemon=True)

    def __enter__(self) -> None:
        self._heart.start()

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Sign off. Gives up after GOODBYE_SECONDS, since the heartbeat ends by itself."""
        self._has_left.set()
        self._heart.join(GOODBYE_SECONDS)

    @contextmanager
    def doing(self, job_type: str) -> Iterator[None]:
        before, self._job_type = self._job_type, job_type
        try:
            yield
        finally:
            self._job_type = before

    def _beat(self) -> None:
        while True:
            self._say(lambda: self.workers.beat(self.name, doing=self._job_type))
            if self._has_left.wait(BEAT_SECONDS):
                return self._say(lambda: self.workers.sign_off(self.name))

    def _say(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:
            log.warning("could not report that this worker lives: %s", error)


class Worker:
    """Runs jobs one at a time until stop()."""

    def __init__(self, runtime: Runtime, handlers: Mapping[str, Handler], *, name: str) -> None:
        self.runtime = runtime
        self.handlers = handlers
        self.name = name
        self.is_stopping = Event()
        self.must_give_back = Event()
        self.housekeeping = Housekeeping(runtime)
        self.presence = Presence(runtime.operations.workers, name)

    def run(self, poll_interval: float) -> None:
        with self.presence, self.runtime.events.webhooks.courier.running():
            self._run_until_stopped(poll_interval)

    def _run_until_stopped(self, poll_interval: float) -> None:
        while not self.is_stopping.is_set():
            try:
                self.housekeeping.run_due_chores()
                did_something = self.run_one()
            except ServiceError as error:
                log.error("%s", error)
                did_something = False
            except Exception:
                log.exception("could not look for work; trying again")
                did_something = False
            if not did_something:
                self.is_stopping.wait(poll_interval)

    def run_one(self) -> bool:
        """Run the next job, if there is one. Tests call this instead of waiting."""
        claim = self.runtime.queue.claim(self.name)
        if claim is not None:
            self._run_and_log(claim, is_guest=False)
            self.runtime.database.give_back_memory()
            give_back_memory()
        return claim is not None

    def run_guest(self, host: Claim) -> bool:
        """Run a job of another tenant for its slice, while *host* waits. A failing database costs the host nothing."""
        try:
            claim = self.runtime.queue.claim(self.name, except_team=host.team_id)
            if claim is not None:
                self._run_and_log(claim, is_guest=True)
        except ServiceError as error:
            log.warning("could not let another tenant's job go first: %s", error)
            return False
        return claim is not None

    def _run_and_log(self, claim: Claim, *, is_guest: bool) -> None:
        """A line when it begins, for whoever wonders what a busy worker does, and one when it ends."""
        started, token = time.monotonic(), request_id.set(claim.request_id)
        log.debug("%s %s of %s begins%s", claim.type, claim.job_id, claim.place, _attempt(claim))
        with self.presence.doing(claim.type), _traced(claim) as ended:
            outcome = self._run(claim, is_guest=is_guest)
            ended({"adf.job.outcome": outcome.kind}, has_failed=outcome.level >= logging.WARNING)
        seconds = time.monotonic() - started
        message = "%s %s of %s %s in %.1f s%s"
        log.log(outcome.level, message, claim.type, claim.job_id, claim.place, outcome.words, seconds, _attempt(claim))
        waited_seconds = claim.waited_seconds if claim.attempt == 1 else None
        count_attempt(claim.type, outcome.kind, seconds, waited_seconds=waited_seconds)
        request_id.reset(token)

    def stop(self, within_seconds: float) -> None:
        """Claim no further job. The current one may finish; after three quarters of the time it is returned to the
        queue at its next step; at the end it is left to its lease, since a running model cannot be interrupted.
        """
        if self.is_stopping.is_set():
            os._exit(1)
        self.is_stopping.set()
        for seconds, act in ((0.75 * within_seconds, self.must_give_back.set), (within_seconds, self._leave)):
            timer = Timer(seconds, act)
            timer.daemon = True
            timer.start()

    def _leave(self) -> None:
        log.warning("the current job did not end in time; another worker will take it over when its lease has expired")
        self.presence.end()
        os._exit(0)

    def _run(self, claim: Claim, *, is_guest: bool) -> AttemptOutcome:
        """Run the job and record how it ended."""
        queue = self.runtime.queue
        try:
            run_guest = None if is_guest else self.run_guest
            with queue.lease(claim, self.must_give_back, run_guest=run_guest, is_guest=is_guest) as lease:
                result = self._handle(lease)
            status = self.runtime.ingest.jobs.complete(claim, result)
            level = logging.ERROR if status is JobStatus.FAILED else logging.INFO
            return AttemptOutcome(status, level, f"{status}: {_in_words(result)}")
        except LostLease:
            return TAKEN_OVER
        except Exception as error:
            return self._end(claim, error)

    def _handle(self, lease: Lease) -> Json:
        claim = lease.claim
        if claim.cancel_requested:
            raise JobCancelled(CANCELLED)
        if claim.attempt > self.runtime.queue.max_attempts:
            raise Invalid(f"Given up: {claim.attempt - 1} workers died or fell silent while running it.")
        if claim.type not in self.handlers:
            raise Invalid(f"This worker has no handler for jobs of type {claim.type!r}: is it older than the API?")
        return self.handlers[claim.type](self.runtime, lease)

    def _end(self, claim: Claim, error: Exception) -> AttemptOutcome:
        """Record that the job failed. It may have been cancelled or taken over meanwhile."""
        try:
            return self._give_up_or_retry(claim, error)
        except JobCancelled as cancelled:
            self.runtime.ingest.jobs.end(claim, JobStatus.CANCELLED, str(cancelled))
            return AttemptOutcome(JobStatus.CANCELLED, logging.INFO, "cancelled")
        except LostLease:
            return TAKEN_OVER

    def _give_up_or_retry(self, claim: Claim, error: Exception) -> AttemptOutcome:
        if isinstance(error, JobCancelled):
            raise error
        if isinstance(error, WorkerStopping):
            self.runtime.queue.give_back(claim)
            return AttemptOutcome("returned", logging.INFO, "returned to the queue, because this worker stops")
        if isinstance(error, GivesWay):
            self.runtime.queue.give_back(claim)
            words = "returned to the queue at the end of its slice: another tenant's job goes first"
            return AttemptOutcome("returned", logging.INFO, words)
        message = self._message(claim, error)
        if isinstance(error, PERMANENT) or claim.attempt >= self.runtime.queue.max_attempts:
            self.runtime.ingest.jobs.end(claim, JobStatus.FAILED, message)
            return AttemptOutcome(JobStatus.FAILED, logging.ERROR, f"failed: {message}")
        pause = self.runtime.queue.retry(claim, message)
        return AttemptOutcome("retried", logging.WARNING, f"will be retried in {pause:.0f} s: {message}")

    def _message(self, claim: Claim, error: Exception) -> str:
        """The message for clients. Details of an unexpected error stay in the log."""
        if isinstance(error, ServiceError):
            return str(error)
        if isinstance(error, MemoryError):
            return "This needs more memory than the worker has, or may take (MEMORY_LIMIT_MB)."
        log.error("job %s", claim.job_id, exc_info=error)
        return f"{type(error).__name__} inside the service: the worker's log has the details under this job's id."


def _traced(claim: Claim) -> AbstractContextManager[tracing.SpanEnd]:
    return tracing.job(claim.type, claim.job_id, claim.attempt, claim.traceparent)


def _attempt(claim: Claim) -> str:
    return f" (try {claim.attempt})" if claim.attempt > 1 else ""


def _in_words(result: Json) -> str:
    return ", ".join(f"{key} {value}" for key, value in result.items() if isinstance(value, int | str))


def _name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--poll-interval", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--database-url", metavar="URL", help="instead of DATABASE_URL")
    parser.add_argument(
        "--metrics-port", type=int, default=0, metavar="PORT", help="serve figures for Prometheus on this port"
    )
    arguments = parser.parse_args()
    overrides = {"database_url": arguments.database_url} if arguments.database_url else {}
    settings = settings_or_exit("worker", **overrides)
    log_to_stderr(settings.log_level, settings.log_format)
    for each in misspelt_names():
        log.warning("%s", each)
    os.nice(settings.worker_nice)
    limit_memory(settings.memory_limit_mb)
    allow_open_files()
    try:
        with (
            tracing.exported("worker"),
            open_runtime(settings) as runtime,
            figures_served(runtime, arguments.metrics_port),
        ):
            worker = Worker(runtime, HANDLERS, name=_name())
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: worker.stop(settings.worker_stop_seconds))
            actor.set("worker")
            runtime.operations.audit.started("worker", settings.changed)
            log.info("worker %s waits for jobs", worker.name)
            worker.run(arguments.poll_interval)
            log.info("worker %s stopped", worker.name)
    except ServiceError as error:
        sys.exit(f"worker: {error}")


if __name__ == "__main__":
    main()
