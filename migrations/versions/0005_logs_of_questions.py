"""logs of questions, and what each day took in"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ingest_usage",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.String(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("chunks", sa.BigInteger(), nullable=False),
        sa.Column("chunks_embedded", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "project_id"], ["projects.team_id", "projects.id"], name=op.f("fk__ingest_usage__projects")
        ),
        sa.PrimaryKeyConstraint("team_id", "project_id", "day", name=op.f("pk__ingest_usage")),
    )
    op.create_table(
        "query_logs",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("query_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("api_key_id", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("question_hash", sa.String(), nullable=False),
        sa.Column("question", sa.String(), nullable=True),
        sa.Column("used_rag", sa.Boolean(), nullable=False),
        sa.Column("top_k", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("day", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "project_id"], ["projects.team_id", "projects.id"], name=op.f("fk__query_logs__projects")
        ),
        sa.PrimaryKeyConstraint("team_id", "query_id", name=op.f("pk__query_logs")),
    )
    op.create_index(op.f("ix__query_logs__day"), "query_logs", ["day"], unique=False)
    op.create_index(op.f("ix__query_logs__team_id_day"), "query_logs", ["team_id", "day"], unique=False)
    op.create_table(
        "query_citations",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("query_id", sa.String(), nullable=False),
        sa.Column("faiss_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["team_id", "query_id"],
            ["query_logs.team_id", "query_logs.query_id"],
            name=op.f("fk__query_citations__query_logs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("team_id", "query_id", "faiss_id", name=op.f("pk__query_citations")),
    )


def downgrade() -> None:
    op.drop_table("query_citations")
    op.drop_index(op.f("ix__query_logs__team_id_day"), table_name="query_logs")
    op.drop_index(op.f("ix__query_logs__day"), table_name="query_logs")
    op.drop_table("query_logs")
    op.drop_table("ingest_usage")
