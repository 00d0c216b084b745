"""What Alembic runs: on the connection that it is handed, else on the database that DATABASE_URL names."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection

from database.engine import Database
from migrations.comparing import is_compared
from models import Base, UtcDateTime
from settings import Settings


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """A migration stands for itself: the project's own column type is written as what it is in the database."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        transactional_ddl=True,
        compare_type=True,
        render_item=render_item,
        include_object=is_compared(connection.dialect.name),
    )
    with context.begin_transaction():
        context.run_migrations()


handed: Connection | None = context.config.attributes.get("connection")
if handed is not None:
    migrate(handed)
else:
    with Database.open(Settings().database_url) as database, database.migrating() as connection:
        migrate(connection)
