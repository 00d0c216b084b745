"""index versions with a chunking of their own"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_UNIQUE = "uq__index_versions__way"
_UNIQUE_BEFORE = "uq__index_versions__team_id_project_id_embedding_version"
_KEY = ("team_id", "project_id", "doc_id", "revision")
_OWN_CHUNKS = f"""
    UPDATE revisions SET has_own_chunks = true WHERE EXISTS (
        SELECT 1 FROM chunks WHERE {" AND ".join(f"chunks.{name} = revisions.{name}" for name in _KEY)}
        AND metadata IS NOT NULL)
"""  # noqa: S608 - nothing of it comes from outside
_OF_MIRRORS = ("keywords", "indices", "erasure_docs", "chunks", "revisions", "docs", "ingest_usage", "query_logs")
_IN_MIRROR = (
    "EXISTS (SELECT 1 FROM projects AS p WHERE p.team_id = {0}.team_id AND p.id = {0}.project_id AND mirror_of > 0)"
)


def upgrade() -> None:
    for name, type_ in (("mirrors", sa.JSON()), ("serving_mirror", sa.BigInteger()), ("mirror_of", sa.BigInteger())):
        op.add_column("projects", sa.Column(name, type_))
    op.add_column("revisions", sa.Column("has_own_chunks", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute(_OWN_CHUNKS)
    op.add_column("index_versions", sa.Column("chunks_of", sa.BigInteger()))
    op.execute("UPDATE index_versions SET chunks_of = project_id")
    with op.batch_alter_table("index_versions") as table:
        table.alter_column("chunks_of", nullable=False)
        table.drop_constraint(_UNIQUE_BEFORE, type_="unique")
        table.create_unique_constraint(_UNIQUE, ["team_id", "project_id", "chunks_of", "embedding_version"])


def downgrade() -> None:
    is_postgres = op.get_bind().dialect.name == "postgresql"
    op.execute("DELETE FROM index_versions WHERE chunks_of <> project_id")
    for table in (*(["vectors"] if is_postgres else []), *_OF_MIRRORS):
        op.execute(f"DELETE FROM {table} WHERE {_IN_MIRROR.format(table)}")  # noqa: S608 - as above
    op.execute("DELETE FROM projects WHERE mirror_of > 0")
    with op.batch_alter_table("index_versions") as versions:
        versions.drop_constraint(_UNIQUE, type_="unique")
        versions.create_unique_constraint(_UNIQUE_BEFORE, ["team_id", "project_id", "embedding_version"])
        versions.drop_column("chunks_of")
    op.drop_column("revisions", "has_own_chunks")
    for name in ("mirror_of", "serving_mirror", "mirrors"):
        op.drop_column("projects", name)
