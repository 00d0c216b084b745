"""The evaluation wing: measuring search, comparing index versions, and asking one of them live searches too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from database.engine import Database
from job_queue import JobQueue
from runtime.parts import Evaluation, Index, Search
from services.evaluation.evaluating import EvaluatingService
from services.evaluation.shadowing import Shadowing
from services.evaluation.version_comparing import ComparingService


@contextmanager
def open_evaluation(database: Database, queue: JobQueue, index: Index, search: Search) -> Iterator[Evaluation]:
    searching, limits = search.searching, search.limits
    with Shadowing(database, searching).running() as shadowing:
        yield Evaluation(
            evaluating=EvaluatingService(database, searching, limits),
            comparing=ComparingService(database, queue, searching, index.index_versions, limits),
            shadowing=shadowing,
        )
