"""Opens a process: the database first, then wing by wing, each on top of those before it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from database.engine import Database
from job_queue import JobQueue
from migrations.upgrade import bring_up_to_date, current_revision
from runtime.accounts import open_accounts
from runtime.answers import open_answers
from runtime.backups import open_backup_places, open_scheduled_backups
from runtime.erasure import open_erasure
from runtime.evaluation import open_evaluation
from runtime.events import open_events
from runtime.index import open_index
from runtime.ingest import compression_of, open_ingest
from runtime.installation import with_model
from runtime.operations import open_operations
from runtime.parts import Erasing, Index, Ingest, Runtime, Search
from runtime.queue import open_queue
from runtime.search import open_search
from runtime.stores import open_stores
from services.operations.scheduled_backups import ScheduledBackups
from settings import Settings

log = logging.getLogger(__name__)


@contextmanager
def open_runtime(settings: Settings, *, statement_timeout_seconds: float = 0.0) -> Iterator[Runtime]:
    """Open the database, migrate it, and join the parts. The model is not loaded yet.

    Only processes that answer requests limit their statements: rebuilds and verifications read as long as they take.
    """
    with _database(settings, statement_timeout_seconds) as database, join_parts(settings, database) as runtime:
        yield runtime


@contextmanager
def join_parts(settings: Settings, database: Database) -> Iterator[Runtime]:
    """On a database that is open and has the current schema."""
    with _wings(with_model(settings, database), database) as runtime:
        yield runtime


@contextmanager
def _wings(settings: Settings, database: Database) -> Iterator[Runtime]:
    """Each wing gets the parts of the others that it needs."""
    queue = open_queue(settings, database)
    with (
        open_index(settings, database, queue) as index,
        open_search(
            settings,
            database,
            index.embedding,
            vectors=index.vectors,
            keywords=index.keywords,
            request_rebuild=index.publisher.request_rebuild,
        ) as search,
        open_answers(settings, database, index.embedding, search.questions) as answers,
        open_accounts(settings, database, index.embedding) as accounts,
        open_evaluation(database, queue, index, search) as evaluation,
        open_events(settings, database) as events,
    ):
        ingest = open_ingest(settings, database, queue, embedding=index.embedding, publisher=index.publisher)
        erasure = _erasure(settings, database, queue, index, ingest, search)
        operations = open_operations(
            database,
            queue,
            vectors=index.vectors,
            embedding=index.embedding,
            ingest=ingest,
            backups=_backups(settings, database, index, ingest, erasure),
            compression=compression_of(settings),
            silence_seconds=settings.worker_silence_seconds,
        )
        stores = open_stores(settings, database, index, ingest)
        wings = events, ingest, search, answers, accounts, evaluation, erasure, operations, stores
        yield Runtime(settings, database, queue, index, *wings)


def _backups(
    settings: Settings, database: Database, index: Index, ingest: Ingest, erasure: Erasing
) -> ScheduledBackups:
    folder = index.vectors.folder
    return open_scheduled_backups(settings, database, ingest.blobs, index_dir=folder, ledger=erasure.ledger)


def _erasure(
    settings: Settings, database: Database, queue: JobQueue, index: Index, ingest: Ingest, search: Search
) -> Erasing:
    places = open_backup_places(settings, database)
    return open_erasure(
        settings,
        database,
        queue,
        index=index,
        blobs=ingest.blobs,
        searching=search.searching,
        list_backups=places.held,
        publish_ledger=places.publish,
    )


@contextmanager
def _database(settings: Settings, statement_timeout_seconds: float) -> Iterator[Database]:
    """With the current schema, and its reserve of disk space."""
    with Database.open(
        settings.database_url,
        min_free_bytes=settings.min_free_disk_mb << 20,
        pool_size=settings.database_pool_size,
        statement_timeout_seconds=statement_timeout_seconds,
        lock_timeout_seconds=settings.database_lock_timeout_seconds,
    ) as database:
        is_new = current_revision(database) is None
        bring_up_to_date(database)
        if is_new and database.file is not None:
            _say_where(database.file, is_relative=":////" not in settings.database_url)
        database.keep_reserve()
        yield database


def _say_where(file: Path, *, is_relative: bool) -> None:
    """A process in another folder than the others would work on an empty database, and nobody would see why."""
    if is_relative:
        log.warning("A new database was created, because DATABASE_URL is relative to the current folder: %s", file)
    else:
        log.info("A new database was created: %s", file)
