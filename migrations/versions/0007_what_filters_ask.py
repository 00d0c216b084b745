"""what filters ask"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

PARTIAL = {
    "ix__chunks__with_metadata": ("metadata", ["team_id", "project_id", "faiss_id"]),
    "ix__chunks__with_pages": ("page_start", ["team_id", "project_id", "faiss_id", "page_start", "page_end"]),
}


def upgrade() -> None:
    with op.batch_alter_table("embedding_versions") as versions:
        versions.add_column(sa.Column("is_external", sa.Boolean(), server_default=sa.false(), nullable=False))
    with op.batch_alter_table("docs") as docs:
        docs.add_column(sa.Column("published_seq", sa.BigInteger(), nullable=True))
        docs.add_column(sa.Column("published_at", sa.DateTime(timezone=True), nullable=True))
        docs.create_index("ix__docs__team_id_project_id_published_seq", ["team_id", "project_id", "published_seq"])
    op.execute("UPDATE docs SET published_at = updated_at WHERE live_revision IS NOT NULL")
    for name, (told, columns) in PARTIAL.items():
        is_told = sa.text(f"{told} IS NOT NULL")
        op.create_index(name, "chunks", columns, sqlite_where=is_told, postgresql_where=is_told)


def downgrade() -> None:
    for name in PARTIAL:
        op.drop_index(name, "chunks")
    with op.batch_alter_table("docs") as docs:
        docs.drop_index("ix__docs__team_id_project_id_published_seq")
        docs.drop_column("published_at")
        docs.drop_column("published_seq")
    with op.batch_alter_table("embedding_versions") as versions:
        versions.drop_column("is_external")
