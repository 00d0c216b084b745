"""Asks a second version a share of the live searches, off the path of their answers, and keeps only figures of them.

A search costs a look at its namespace's row, which it has anyway, and an entry in a short queue; what does not fit is
dropped and counted. One thread asks. A process that is killed loses the figures of the last seconds.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from queue import Empty, Full, Queue
from threading import Lock, Thread

from database.engine import Database
from domain import Partition
from errors import ServiceError
from models import IndexVersion, Project, utc_now
from services.evaluation.agreement import Agreement
from services.evaluation.version_report import ids_of
from services.search.question import Answer, Question
from services.search.searching import SearchService

log = logging.getLogger(__name__)

MOST_WAITING = 64
FLUSH_SECONDS = 2.0
COMPARED = 10
"""How many chunks of each answer are compared."""

Sums = Mapping[str, float]
"""By name of figure, its sum over the searches."""


@dataclass(frozen=True, slots=True)
class _LiveSearch:
    """A search that was answered. *name* is the version that shadows it, *partition* the one that answered."""

    question: Question
    answer: Answer
    partition: Partition
    name: str


@dataclass
class Shadowing:
    """Opened by running(). offer() never blocks, so the event loop may call it. The thread starts with the first."""

    database: Database
    searching: SearchService
    most_waiting: int = MOST_WAITING
    _waiting: Queue[_LiveSearch | None] = field(init=False)
    _sums: dict[tuple[Partition, str], Sums] = field(default_factory=dict, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)
    _thread: Thread | None = field(default=None, init=False)
    _is_stopping: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._waiting = Queue(self.most_waiting)

    @contextmanager
    def running(self) -> Iterator[Shadowing]:
        try:
            yield self
        finally:
            self._is_stopping = True
            if self._thread is not None:
                with suppress(Full):
                    self._waiting.put_nowait(None)
                self._thread.join()

    def offer(self, question: Question, answer: Answer) -> None:
        """Queue a search that was answered, if its namespace has a shadow and it is one of the share."""
        shadow, partition = answer.shadow, answer.partition
        if shadow is None or partition is None or "dense" not in question.sides or question.vector is not None:
            return
        if time.time() >= shadow["until"]:
            self._add(partition, shadow["name"], {})  # for the flush that ends it
        elif random.random() < shadow["share"]:  # noqa: S311 - a sample, not a secret
            try:
                self._waiting.put_nowait(_LiveSearch(question, answer, partition, shadow["name"]))
            except Full:
                self._add(partition, shadow["name"], {"dropped": 1})
        self._start()

    def ask_next(self, *, seconds: float) -> bool:
        """Ask the version what waits longest. Returns whether there was something, within that time."""
        try:
            search = self._waiting.get(timeout=seconds)
        except Empty:
            return False
        if search is not None:
            self._add(search.partition, search.name, self._figures(search))
        return search is not None

    def flush(self) -> None:
        """Add the figures to the versions' rows. Raises ServiceError; what was not written stays."""
        while self._sums:
            with self._lock:
                (partition, name), more = self._sums.popitem()
            try:
                self._write(partition, name, more)
            except ServiceError:
                self._add(partition, name, more)
                raise

    def _figures(self, search: _LiveSearch) -> Sums:
        started = time.perf_counter()
        try:
            answer = self.searching.search(replace(search.question, index_version=search.name))
        except ServiceError as error:
            log.debug("the shadow %r gave no answer: %s", search.name, error)
            return {"failed": 1}
        milliseconds = 1000 * (time.perf_counter() - started)
        by_document = bool((search.answer.shadow or {}).get("by_document"))
        theirs, ours = (ids_of(one.passages, by_document=by_document) for one in (answer, search.answer))
        agreement = Agreement.of(theirs, ours, k=COMPARED)
        figures = {"overlap": agreement.overlap, "jaccard": agreement.jaccard, "rbo": agreement.rbo}
        return {**figures, "top1_agreement": agreement.same_top, "empty": not theirs, "ms": milliseconds, "queries": 1}

    def _add(self, partition: Partition, name: str, more: Sums) -> None:
        with self._lock:
            self._sums[partition, name] = _together(self._sums.get((partition, name), {}), more)

    def _write(self, partition: Partition, name: str, more: Sums) -> None:
        key = partition.team_id, partition.project_id
        with self.database.write() as session:
            project = session.get_one(Project, key, with_for_update=True)
            if project.mirror_of is not None:
                key = key[0], project.mirror_of
                project = session.get_one(Project, key, with_for_update=True)
            row = session.get(IndexVersion, (*key, name))
            if row is not None and row.shadow is not None:
                row.shadow = {**row.shadow, "sums": _together(row.shadow["sums"], more)}
            if project.shadow is not None and project.shadow["until"] <= utc_now().timestamp():
                project.shadow = None

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._is_stopping:
                self._thread = Thread(target=self._run, name="shadow", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        """Figures are written when nothing waits, or some seconds after the last time."""
        flushed_at = time.monotonic()
        while not self._is_stopping:
            was_busy = self.ask_next(seconds=FLUSH_SECONDS)
            if not was_busy or time.monotonic() - flushed_at > FLUSH_SECONDS:
                self._flush_quietly()
                flushed_at = time.monotonic()
        self._flush_quietly()

    def _flush_quietly(self) -> None:
        try:
            self.flush()
        except Exception as error:
            log.error("the figures of a shadow wait: %s", error)


def _together(one: Sums, other: Sums) -> dict[str, float]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
