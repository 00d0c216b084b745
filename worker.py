"""The worker process: claim a job, run its handler, say how it went, again.

    python worker.py --poll-interval 2.0 --database-url sqlite:///./my_rag.db

Start as many as there are cores to spare. SIGTERM and Ctrl-C let the job at hand finish, or give it back when
it takes too long; a second one ends the process at once, which loses nothing either.
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
from settings import Settings

log = logging.getLogger(__name__)

PERMANENT = (Invalid, NotFound, EmbeddingRefused, VersionUnavailable)


class Worker:
    """Runs jobs one at a time until it is told to stop."""

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
                self.housekeeping.do_what_is_due()
                did_something = self.run_one()
            except ServiceError as error:
                log.error("%s", error)
                did_something = False
            except Exception:
                log.exception("could not look for work; trying again")
                did_something = False
            if not did_something:
                self.is_stopping.wait(poll_interval)
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        """To whoever asks why jobs wait. A database that is away does not keep a worker from ending well."""
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
        """Take no further job. The one at hand may finish, is given back at its next step after three quarters of
        the time, and is left to its lease at the end of it: a model at work hears nothing.
        """
        if self.is_stopping.is_set():
            os._exit(1)
        self.is_stopping.set()
        for seconds, act in ((0.75 * within_seconds, self.must_give_back.set), (within_seconds, _leave)):
            timer = Timer(seconds, act)
            timer.daemon = True
            timer.start()

    def _run(self, claim: Claim) -> str:
        """Do the job and write down how it ended. Returns the same in a few words."""
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
            raise Invalid(f"Given up: {claim.attempt - 1} workers died or fell silent over it.")
        if claim.type not in self.handlers:
            raise Invalid(f"This worker knows no job of type {claim.type!r}: is it older than the API?")
        return self.handlers[claim.type](self.runtime, lease)

    def _end(self, claim: Claim, error: Exception) -> str:
        """Write down that the job did not get done. Somebody may have cancelled or taken it meanwhile."""
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
            return "given back, because this worker stops"
        if isinstance(error, GivesWay):
            self.runtime.queue.give_back(claim)
            return "has had its slice: another tenant's job goes first"
        told = self._tell(claim, error)
        if isinstance(error, PERMANENT) or claim.attempt >= self.runtime.queue.max_attempts:
            self.runtime.ingest.jobs.end(claim, JobStatus.FAILED, told)
            return f"failed: {told}"
        pause = self.runtime.queue.retry(claim, told)
        return f"will be tried again in {pause:.0f} s: {told}"

    def _tell(self, claim: Claim, error: Exception) -> str:
        """What clients may read of it: what the service did not say on purpose stays in the log."""
        if isinstance(error, ServiceError):
            return str(error)
        if isinstance(error, MemoryError):
            return "It takes more memory than this worker has, or may take (MEMORY_LIMIT_MB)."
        log.error("job %s", claim.job_id, exc_info=error)
        return f"{type(error).__name__} inside the service: the worker's log has it under this job's id."


def _leave() -> None:
    log.warning("the job at hand did not end in time; another worker takes it when its lease has run out")
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
    given = {"database_url": arguments.database_url} if arguments.database_url else {}
    settings = Settings(**given)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
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
