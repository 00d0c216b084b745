"""erasures, their ledger, and what erasing and purging look up"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("teams", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("projects", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("projects", sa.Column("purged_seq", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("idempotency_keys", sa.Column("tenant_id", sa.String(), nullable=True))
    op.create_index(op.f("ix__chunks__team_id_embed_hash"), "chunks", ["team_id", "embed_hash"])
    op.create_table(
        "erasures",
        sa.Column("team_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("scope", sa.JSON(), nullable=False),
        sa.Column("doc_keys", sa.LargeBinary(), nullable=True),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("work", sa.JSON(), nullable=True),
        sa.Column("tally", sa.JSON(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("receipt", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("team_id", "id", name=op.f("pk__erasures")),
    )
    op.create_table(
        "erasure_docs",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("erasure_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("doc_id", sa.String(), nullable=False),
        sa.Column("last_revision", sa.BigInteger(), nullable=True),
        sa.Column("chunk_ranges", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "erasure_id"], ["erasures.team_id", "erasures.id"], name=op.f("fk__erasure_docs__erasures")
        ),
        sa.PrimaryKeyConstraint("team_id", "erasure_id", "project_id", "doc_id", name=op.f("pk__erasure_docs")),
    )
    op.create_table(
        "erasure_ledger",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hmac_key", sa.LargeBinary(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk__erasure_ledger")),
    )
    op.create_table(
        "backup_places",
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("keep", sa.Integer(), nullable=True),
        sa.Column("every_hours", sa.Double(), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("location", name=op.f("pk__backup_places")),
    )


def downgrade() -> None:
    for table in ("backup_places", "erasure_ledger", "erasure_docs", "erasures"):
        op.drop_table(table)
    op.drop_index(op.f("ix__chunks__team_id_embed_hash"), "chunks")
    op.drop_column("idempotency_keys", "tenant_id")
    op.drop_column("projects", "purged_seq")
    op.drop_column("projects", "erased_at")
    op.drop_column("teams", "erased_at")
