"""what a team allows, and no time that a driver cannot read"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_LATEST = datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)
_KEYS = sa.table("api_keys", sa.column("expires_at", sa.DateTime(timezone=True)))


def upgrade() -> None:
    """Keys could be made to expire in a year that a Postgres holds and no driver reads: lists of them failed."""
    op.execute(sa.update(_KEYS).where(_KEYS.c.expires_at > _LATEST).values(expires_at=_LATEST))
    op.add_column("teams", sa.Column("allow_system_prompt", sa.Boolean(), server_default=sa.true(), nullable=False))


def downgrade() -> None:
    op.drop_column("teams", "allow_system_prompt")
