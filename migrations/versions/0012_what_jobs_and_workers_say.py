"""what a job says of its course, and a worker of itself"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_OF_JOBS = ("chunks_done", "chunks_total", "seconds_left", "failed_docs", "retried_as")
_OF_WORKERS = ("host", "pid", "version", "doing", "left_at")
_JOBS = sa.table(
    "jobs", sa.column("type"), sa.column("status"), sa.column("failed_docs"), sa.column("result_json", sa.JSON())
)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("chunks_done", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("chunks_total", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("seconds_left", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("failed_docs", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("retried_as", sa.String(), nullable=True))
    failed = sa.func.coalesce(_JOBS.c.result_json["failed"].as_integer(), 0)
    with_result = (_JOBS.c.type == "ingest_docs") & (_JOBS.c.status == "completed")
    op.execute(sa.update(_JOBS).where(with_result).values(failed_docs=failed))
    op.add_column("revisions", sa.Column("accepted_seq", sa.BigInteger(), nullable=True))
    op.add_column("workers", sa.Column("host", sa.String(), nullable=True))
    op.add_column("workers", sa.Column("pid", sa.Integer(), nullable=True))
    op.add_column("workers", sa.Column("version", sa.String(), nullable=True))
    op.add_column("workers", sa.Column("doing", sa.String(), nullable=True))
    op.add_column("workers", sa.Column("left_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("revisions", "accepted_seq")
    for name in _OF_JOBS:
        op.drop_column("jobs", name)
    for name in _OF_WORKERS:
        op.drop_column("workers", name)
