"""compressed texts"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
import zstandard
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_MAGIC = b"\x28\xb5\x2f\xfd"
_KEY = ("team_id", "project_id", "doc_id", "revision")
_REVISIONS = sa.table("revisions", *(sa.column(name) for name in (*_KEY, "text")))
_ANSWERS = sa.table("idempotency_keys", sa.column("key"), sa.column("response_body"))


def upgrade() -> None:
    """On SQLite a column holds either form. On Postgres the table is written anew, once."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE revisions ALTER COLUMN text TYPE bytea USING convert_to(text, 'UTF8')")


def downgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for key, frame in _compressed(_REVISIONS, _REVISIONS.c.text, _KEY):
        text = zstandard.decompress(frame)
        _write(_REVISIONS, key, {"text": text.decode() if is_sqlite else text})
    for key, frame in _compressed(_ANSWERS, _ANSWERS.c.response_body, ("key",)):
        _write(_ANSWERS, key, {"response_body": zstandard.decompress(frame)})
    if not is_sqlite:
        op.execute("ALTER TABLE revisions ALTER COLUMN text TYPE varchar USING convert_from(text, 'UTF8')")


def _compressed(table: sa.TableClause, column: Any, key: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The keys are read first: the rows are written while this goes on."""
    is_compressed = sa.func.substr(column, 1, len(_MAGIC)) == sa.literal(_MAGIC)
    bind = op.get_bind()
    rows = bind.execute(sa.select(*(table.c[name] for name in key)).where(is_compressed)).all()
    for row in rows:
        values = row._asdict()
        yield values, bytes(bind.execute(sa.select(column).where(*_is(table, values))).scalar_one())


def _write(table: sa.TableClause, key: dict[str, Any], values: dict[str, Any]) -> None:
    op.get_bind().execute(sa.update(table).where(*_is(table, key)).values(values))


def _is(table: sa.TableClause, key: dict[str, Any]) -> list[Any]:
    return [table.c[name] == value for name, value in key.items()]
