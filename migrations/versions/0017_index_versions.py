"""index versions, beside each other"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projects", sa.Column("other_versions", sa.JSON(), nullable=True))
    op.add_column("projects", sa.Column("shadow", sa.JSON(), nullable=True))
    op.create_table(
        "index_versions",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("embedding_version", sa.String(), nullable=False),
        sa.Column("is_complete", sa.Boolean(), nullable=False),
        sa.Column("covered_seq", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("activate", sa.String(), nullable=False),
        sa.Column("gates", sa.JSON(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=True),
        sa.Column("shadow", sa.JSON(), nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["team_id", "project_id"],
            ["projects.team_id", "projects.id"],
            name=op.f("fk__index_versions__projects"),
        ),
        sa.ForeignKeyConstraint(
            ["embedding_version"], ["embedding_versions.name"], name=op.f("fk__index_versions__embedding_versions")
        ),
        sa.PrimaryKeyConstraint("team_id", "project_id", "name", name=op.f("pk__index_versions")),
        sa.UniqueConstraint(
            "team_id",
            "project_id",
            "embedding_version",
            name=op.f("uq__index_versions__team_id_project_id_embedding_version"),
        ),
    )


def downgrade() -> None:
    op.drop_table("index_versions")
    op.drop_column("projects", "shadow")
    op.drop_column("projects", "other_versions")
