"""raw files"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("doc_id", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("byte_count", sa.BigInteger(), nullable=False),
        sa.Column("asked", sa.JSON(), nullable=False),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "project_id", "doc_id", "revision"],
            ["revisions.team_id", "revisions.project_id", "revisions.doc_id", "revisions.revision"],
            name=op.f("fk__files__revisions"),
        ),
        sa.PrimaryKeyConstraint("team_id", "project_id", "doc_id", "revision", name=op.f("pk__files")),
    )
    op.create_table(
        "pending_blobs",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("is_doomed", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk__pending_blobs")),
    )


def downgrade() -> None:
    op.drop_table("pending_blobs")
    op.drop_table("files")
