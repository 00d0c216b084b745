"""vectors in Postgres"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.exc import DBAPIError

from errors import DatabaseUnavailable

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("indices") as indices:
        indices.add_column(sa.Column("vectors_seq", sa.BigInteger(), server_default="0", nullable=False))
    if op.get_bind().dialect.name != "postgresql":
        return
    _create_extension()
    op.create_table(
        "vectors",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("embedding_version", sa.String(), nullable=False),
        sa.Column("faiss_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("embedding", VECTOR(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "project_id"], ["projects.team_id", "projects.id"], name=op.f("fk__vectors__projects")
        ),
        sa.PrimaryKeyConstraint("team_id", "project_id", "embedding_version", "faiss_id", name=op.f("pk__vectors")),
    )


def downgrade() -> None:
    """The extension stays: others may use it."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_table("vectors")
    op.drop_column("indices", "vectors_seq")


def _create_extension() -> None:
    """One that an administrator has made already needs no right."""
    connection = op.get_bind()
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS vector"))
    except DBAPIError as error:
        raise DatabaseUnavailable(
            f"The database {connection.engine.url.database!r} has no extension vector (pgvector), and this user could "
            f"not make it ({str(error.orig).splitlines()[0]}). An administrator installs pgvector 0.8 or newer on the "
            "server of the database (apt: postgresql-NN-pgvector) and runs in this database: CREATE EXTENSION vector;"
        ) from error
