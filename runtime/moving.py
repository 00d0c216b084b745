"""The two databases of a move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from database.engine import Database
from errors import DatabaseUnavailable, NotFound
from migrations.upgrade import current_revision
from runtime.queue import open_queue
from services.operations.moving import MovingService
from settings import Settings


@contextmanager
def open_move(settings: Settings, *, source: str, target: str, batch_rows: int) -> Iterator[MovingService]:
    """Open the databases at the URLs *source* and *target*. Errors name --from and --to."""
    with ExitStack() as opened:
        old = _open(opened, "--from", source, settings)
        new = _open(opened, "--to", target, settings)
        yield MovingService(old, new, open_queue(settings, new), batch_rows)


def _open(opened: ExitStack, option: str, url: str, settings: Settings) -> Database:
    """A source that is a file must exist: SQLite would create an empty one."""
    try:
        database = opened.enter_context(Database.open(url, min_free_bytes=settings.min_free_disk_mb << 20))
        if option == "--from" and database.file is not None and not database.file.exists():
            raise NotFound(f"There is no database file {database.file}: --from has to name the one to move.")
        current_revision(database)
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(str(error).replace("DATABASE_URL", option)) from error
    return database
