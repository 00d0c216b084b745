"""Brings a database to the schema of this code, at start. Alembic is imported only when there is something to do."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from database.engine import Database
from errors import DatabaseUnavailable

HEAD = "0009"
MOVING = f"move-{HEAD}"
"""What a database says instead of HEAD while it is the target of a move: nobody is to work on half of it."""


def bring_up_to_date(database: Database) -> None:
    """Run what is missing, once, however many processes start together. Raises DatabaseUnavailable."""
    if current_revision(database) == HEAD:
        return
    with database.migrating() as connection:
        found = _revision(connection)
        if found != HEAD:
            _run(connection, found)


def current_revision(database: Database) -> str | None:
    with database.read() as session:
        return _revision(session.connection())


def set_revision(connection: Connection, revision: str) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _run(connection: Connection, found: str | None) -> None:
    if found is not None and found.startswith("move-"):
        raise DatabaseUnavailable(
            "A move into this database has not ended, so it is not complete: run the same manage.py move again, "
            "or take an empty database."
        )
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of its plugins when it is imported

    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise DatabaseUnavailable(
            f"The database has schema {found}, which this code does not know (it knows up to {HEAD}): it was used by "
            "a newer version. Start that version, or restore a backup from before."
        ) from error
