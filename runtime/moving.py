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
    """Open the databases that the URLs *source* and *target* name. Their errors speak of --from and --to."""
    with ExitStack() as opened:
        old = _reached(opened, "--from", source, settings)
        new = _reached(opened, "--to", target, settings)
        yield MovingService(old, new, open_queue(settings, new), batch_rows)


def _reached(opened: ExitStack, option: str, url: str, settings: Settings) -> Database:
    """A source that is a file must be there: SQLite would make an empty one."""
    try:
        database = opened.enter_context(Database.open(url, min_free_bytes=settings.min_free_disk_mb << 20))
        if option == "--from" and database.file is not None and not database.file.exists():
            raise NotFound(f"There is no database file {database.file}: --from names the one to move.")
        current_revision(database)
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(str(error).replace("DATABASE_URL", option)) from error
    return database
