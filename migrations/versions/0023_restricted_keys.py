"""API keys that see a part of their team's documents"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_COLUMNS = ("filters", "namespaces")


def upgrade() -> None:
    for name in _COLUMNS:
        op.add_column("api_keys", sa.Column(name, sa.JSON(none_as_null=True)))


def downgrade() -> None:
    """An older version would let these keys see everything."""
    keys = sa.table("api_keys", *(sa.column(name) for name in ("revoked_at", *_COLUMNS)))
    is_restricted = sa.or_(*(keys.c[name].is_not(None) for name in _COLUMNS))
    ended = sa.update(keys).where(is_restricted, keys.c.revoked_at.is_(None))
    op.execute(ended.values(revoked_at=sa.func.current_timestamp()))
    for name in _COLUMNS:
        op.drop_column("api_keys", name)
