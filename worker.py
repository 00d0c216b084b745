"""The worker process: claim a job, run its handler, record the outcome, repeat.

    python worker.py --poll-interval 2.0 --database-url sqlite:///./my_rag.db

Start one per spare core. SIGTERM and Ctrl-C let the current job finish, or return it to the queue if it takes too
long; a second one ends the process at once, which loses nothing either.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Mapping
from threading import Event, Timer

try:
    from configuration import misspelt_names, settings_or_exit
except ModuleNotFoundError as error:
    sys.exit(f"worker: this Python has no {error.name}. Run script/environment once, then .venv/bin/python worker.py")
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
from runtime.memory import limit_memory
from runtime.opening import open_runtime
from runtime.parts import Runtime

log = logging.getLogger(__name__)

PERMANENT = (Invalid, NotFound, EmbeddingRefused, VersionUnavailable)


class Worker:
    """Runs jobs one at a time until stop()."""

    def __init__(self, runtime: Runtime, handlers: Mapping[str, Handler], *, name: str) -> None:
        self.runtime = runtime
        self.handlers = handlers
        self.name = name
        self.is_stopping = Event()
        self.must_give_back = Event()
        self.housekeeping = Housekeeping(runtime, worker=name)

    def run(self, poll_interval: float) -> None:
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
        self._deregister()

    def _deregister(self) -> None:
        """A worker that stopped is no longer listed. An unreachable database does not keep it from stopping."""
        try:
            self.runtime.queue.forget_worker(self.name)
        except ServiceError as error:
            log.warning("%s", error)

    def run_one(self) -> bool:
        """Run the next job, if there is one. Tests call this instead of waiting."""
        claim = self.runtime.queue.claim(self.name)
        if claim is None:
            return False
        started = time.monotonic()
        outcome = self._run(claim)
        log.info("%s %s %s in %.1f s%s", claim.type, claim.job_id, outcome, time.monotonic() - started, _attempt(claim))
        return True

    def stop(self, within_seconds: float) -> None:
        """Claim no further job. The current one may finish; after three quarters of the time it is returned to the
        queue at its next step; at the end it is left to its lease, since a running model cannot be interrupted.
        """
        if self.is_stopping.is_set():
            os._exit(1)
        self.is_stopping.set()
        for seconds, act in ((0.75 * within_seconds, self.must_give_back.set), (within_seconds, _leave)):
            timer = Timer(seconds, act)
            timer.daemon = True
            timer.start()

    def _run(self, claim: Claim) -> str:
        """Run the job and record how it ended. Returns the outcome in a few words."""
        queue = self.runtime.queue
        try:
            with queue.lease(claim, self.must_give_back) as lease:
                result = self._handle(lease)
            with queue.finish(claim, JobStatus.COMPLETED, result=result):
                return f"completed: {_in_words(result)}"
        except LostLease:
            return "was taken over by another worker"
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

    def _end(self, claim: Claim, error: Exception) -> str:
        """Record that the job failed. It may have been cancelled or taken over meanwhile."""
        try:
            return self._give_up_or_retry(claim, error)
        except JobCancelled as cancelled:
            self.runtime.ingest.jobs.end(claim, JobStatus.CANCELLED, str(cancelled))
            return "cancelled"
        except LostLease:
            return "was taken over by another worker"

    def _give_up_or_retry(self, claim: Claim, error: Exception) -> str:
        if isinstance(error, JobCancelled):
            raise error
        if isinstance(error, WorkerStopping):
            self.runtime.queue.give_back(claim)
            return "returned to the queue, because this worker stops"
        if isinstance(error, GivesWay):
            self.runtime.queue.give_back(claim)
            return "returned to the queue at the end of its slice: another tenant's job goes first"
        message = self._message(claim, error)
        if isinstance(error, PERMANENT) or claim.attempt >= self.runtime.queue.max_attempts:
            self.runtime.ingest.jobs.end(claim, JobStatus.FAILED, message)
            return f"failed: {message}"
        pause = self.runtime.queue.retry(claim, message)
        return f"will be retried in {pause:.0f} s: {message}"

    def _message(self, claim: Claim, error: Exception) -> str:
        """The message for clients. Details of an unexpected error stay in the log."""
        if isinstance(error, ServiceError):
            return str(error)
        if isinstance(error, MemoryError):
            return "This needs more memory than the worker has, or may take (MEMORY_LIMIT_MB)."
        log.error("job %s", claim.job_id, exc_info=error)
        return f"{type(error).__name__} inside the service: the worker's log has the details under this job's id."


def _leave() -> None:
    log.warning("the current job did not end in time; another worker will take it over when its lease has expired")
    os._exit(0)


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
    arguments = parser.parse_args()
    overrides = {"database_url": arguments.database_url} if arguments.database_url else {}
    settings = settings_or_exit("worker", **overrides)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for each in misspelt_names():
        log.warning("%s", each)
    os.nice(settings.worker_nice)
    limit_memory(settings.memory_limit_mb)
    try:
        with open_runtime(settings) as runtime:
            worker = Worker(runtime, HANDLERS, name=_name())
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: worker.stop(settings.worker_stop_seconds))
            runtime.index.embedding.start_loading(warm_up=lambda embedder: embedder.embed_documents(["warm"]))
            log.info("worker %s waits for jobs", worker.name)
            worker.run(arguments.poll_interval)
            log.info("worker %s stopped", worker.name)
    except ServiceError as error:
        sys.exit(f"worker: {error}")


if __name__ == "__main__":
    main()
