"""documents by time and those that are not ready, without a walk; the request that asked for a job"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_NOT_READY = sa.text("status <> 'ready'")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("request_id", sa.String(), nullable=True))
    op.create_index(
        "ix__docs__team_id_project_id_updated_at_doc_id", "docs", ["team_id", "project_id", "updated_at", "doc_id"]
    )
    op.create_index(
        "ix__docs__not_ready",
        "docs",
        ["team_id", "project_id", "status", "doc_id"],
        sqlite_where=_NOT_READY,
        postgresql_where=_NOT_READY,
    )


def downgrade() -> None:
    op.drop_index("ix__docs__not_ready", table_name="docs")
    op.drop_index("ix__docs__team_id_project_id_updated_at_doc_id", table_name="docs")
    op.drop_column("jobs", "request_id")
