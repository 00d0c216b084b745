"""Brings a database to the schema of this code, at start. Alembic is imported only when there is something to do."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from database import Database
from errors import DatabaseUnavailable

HEAD = "0002"


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


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _run(connection: Connection, found: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    logging.getLogger("alembic").setLevel(logging.WARNING)
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
