"""what filters ask"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

PARTIAL = {
    "ix__revisions__live": ("revisions", ["team_id", "project_id", "published_seq"], "status = 'live'"),
    "ix__chunks__metadata": ("chunks", ["team_id", "project_id", "faiss_id"], "metadata IS NOT NULL"),
    "ix__chunks__pages": ("chunks", ["team_id", "project_id", "faiss_id"], "page_start IS NOT NULL"),
}


def upgrade() -> None:
    """Not in a batch: that may put another table in its place, which what refers to it forbids."""
    no = sa.false()
    op.add_column("embedding_versions", sa.Column("is_external", sa.Boolean(), server_default=no, nullable=False))
    op.add_column("revisions", sa.Column("first_id", sa.BigInteger(), nullable=True))
    op.add_column("revisions", sa.Column("published_seq", sa.BigInteger(), nullable=True))
    op.add_column("revisions", sa.Column("published_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(FILL_FIRST_IDS)
    op.execute(FILL_TIMES)
    for name, (table, columns, condition) in PARTIAL.items():
        op.create_index(name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


def downgrade() -> None:
    for name, (table, _, _) in PARTIAL.items():
        op.drop_index(name, table)
    for column in ("published_at", "published_seq", "first_id"):
        op.drop_column("revisions", column)
    op.drop_column("embedding_versions", "is_external")


FILL_FIRST_IDS = """
UPDATE revisions SET first_id = (
  SELECT min(chunks.faiss_id) FROM chunks WHERE chunks.team_id = revisions.team_id
  AND chunks.project_id = revisions.project_id AND chunks.doc_id = revisions.doc_id
  AND chunks.revision = revisions.revision
)
"""
FILL_TIMES = """
UPDATE revisions SET published_seq = 0, published_at = (
  SELECT docs.updated_at FROM docs WHERE docs.team_id = revisions.team_id
  AND docs.project_id = revisions.project_id AND docs.doc_id = revisions.doc_id
) WHERE status = 'live'
"""
