"""the trace that a job belongs to"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.String()))


def downgrade() -> None:
    op.drop_column("jobs", "traceparent")
