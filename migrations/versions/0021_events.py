"""events"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Only Postgres needs a sequence: on SQLite one transaction writes at a time."""
    op.create_table(
        "events",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=True),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "project_id"], ["projects.team_id", "projects.id"], name=op.f("fk__events__projects")
        ),
        sa.PrimaryKeyConstraint("team_id", "number", name=op.f("pk__events")),
    )
    op.create_index(op.f("ix__events__number"), "events", ["number"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE SEQUENCE events_number_seq OWNED BY events.number")


def downgrade() -> None:
    op.drop_table("events")
