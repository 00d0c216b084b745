"""The parts of a process."""

from __future__ import annotations

from dataclasses import dataclass

from database.engine import Database
from job_queue import JobQueue
from runtime.accounts import Accounts
from runtime.answers import Answers
from runtime.index import Index
from runtime.ingest import Ingest
from runtime.operations import Operations
from runtime.search import Search
from services.evaluation.evaluating import EvaluatingService
from settings import Settings


@dataclass(frozen=True)
class Runtime:
    """Everything that one process holds open. Created by open_runtime and passed on, never looked up."""

    settings: Settings
    database: Database
    queue: JobQueue
    index: Index
    ingest: Ingest
    search: Search
    answers: Answers
    accounts: Accounts
    evaluation: EvaluatingService
    operations: Operations
