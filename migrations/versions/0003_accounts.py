"""accounts: keys of teams, and what a team tells a language model"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("team_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk__api_keys__teams")),
        sa.PrimaryKeyConstraint("team_id", "id", name=op.f("pk__api_keys")),
    )
    op.create_index(op.f("ix__api_keys__id"), "api_keys", ["id"])
    op.add_column("teams", sa.Column("system_prompt", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("teams", "system_prompt")
    op.drop_table("api_keys")
