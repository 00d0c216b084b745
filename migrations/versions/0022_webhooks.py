"""webhooks"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text, time, number = sa.String(), sa.DateTime(timezone=True), sa.BigInteger()
    op.create_table(
        "webhooks",
        sa.Column("team_id", number, nullable=False),
        sa.Column("id", text, nullable=False),
        sa.Column("project_id", number),
        sa.Column("url", text, nullable=False),
        sa.Column("events", sa.JSON()),
        sa.Column("secret", text, nullable=False),
        sa.Column("previous_secret", text),
        sa.Column("previous_until", time),
        sa.Column("position", number, nullable=False),
        sa.Column("due_at", sa.Double()),
        sa.Column("served_at", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double()),
        sa.Column("holder", text),
        sa.Column("failing_since", time),
        sa.Column("last_error", text),
        sa.Column("disabled_at", time),
        sa.Column("disabled_because", text),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk__webhooks__teams")),
        sa.ForeignKeyConstraint(
            ["team_id", "project_id"], ["projects.team_id", "projects.id"], name=op.f("fk__webhooks__projects")
        ),
        sa.PrimaryKeyConstraint("team_id", "id", name=op.f("pk__webhooks")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("team_id", number, nullable=False),
        sa.Column("webhook_id", text, nullable=False),
        sa.Column("number", number, autoincrement=False, nullable=False),
        sa.Column("status", text, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Double()),
        sa.Column("attempted_at", time),
        sa.Column("answer_status", sa.Integer()),
        sa.Column("answer_excerpt", text),
        sa.Column("error", text),
        sa.Column("created_at", time, nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "webhook_id"],
            ["webhooks.team_id", "webhooks.id"],
            name=op.f("fk__webhook_deliveries__webhooks"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("team_id", "webhook_id", "number", name=op.f("pk__webhook_deliveries")),
    )
    for columns in (["team_id", "webhook_id", "due_at"], ["team_id", "number"]):
        op.create_index(None, "webhook_deliveries", columns)


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
