"""Migrates a database to the schema of this code, at start. Imports Alembic only if there is something to do."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from database.engine import Database
from errors import DatabaseUnavailable

HEAD = "0025"
MOVING = f"move-{HEAD}"
"""The revision of a database while it is the target of a move, so that no process uses it incomplete."""
RESTORING = "restoring"
"""Likewise, until a restored Postgres database is verified."""


def bring_up_to_date(database: Database) -> None:
    """Run missing migrations, once even if several processes start together. Raises DatabaseUnavailable."""
    if current_revision(database) == HEAD:
        return
    with database.migrating() as connection:
        revision = _revision(connection)
        if revision != HEAD:
            _upgrade(connection, revision)


def create_schema(connection: Connection, revision: str) -> None:
    """Create the tables as they were at that revision, in a database without any."""
    _upgrade(connection, None, to=revision)


def upgrade_to_head(connection: Connection) -> None:
    if (revision := _revision(connection)) != HEAD:
        _upgrade(connection, revision)


def is_known(revision: str) -> bool:
    """Whether this code can migrate from that revision."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    try:
        ScriptDirectory(str(Path(__file__).parent)).get_revision(revision)
    except CommandError:
        return False
    return True


def current_revision(database: Database) -> str | None:
    with database.read() as session:
        return _revision(session.connection())


def set_revision(connection: Connection, revision: str) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _upgrade(connection: Connection, revision: str | None, *, to: str = "head") -> None:
    if revision is not None and revision.startswith("move-"):
        raise DatabaseUnavailable(
            "A move into this database did not finish, so it is incomplete: run the same manage.py move again, "
            "or use an empty database."
        )
    if revision == RESTORING:
        raise DatabaseUnavailable(
            "A restore into this database did not finish, so it is unverified: run manage.py restore again."
        )
    logging.getLogger("alembic").setLevel(logging.WARNING)  # its import logs its plugins

    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, to)
    except CommandError as error:
        raise DatabaseUnavailable(
            f"The database has schema {revision}, which this code does not know (it knows up to {HEAD}): it was used "
            "by a newer version. Start that version, or restore a backup from before."
        ) from error
