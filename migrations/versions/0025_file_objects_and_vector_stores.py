"""files by themselves, uploads in parts, and what namespaces are called as vector stores"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_TEAM_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NEW = ("batch_files", "file_batches", "vector_stores", "upload_parts", "uploads", "file_objects")


def upgrade() -> None:
    op.add_column("teams", sa.Column("file_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    _create_files()
    _create_uploads()
    _create_vector_stores()
    _create_batches()


def downgrade() -> None:
    for table in _NEW:
        op.drop_table(table)
    op.drop_column("teams", "file_bytes")


def _create_files() -> None:
    op.create_table(
        "file_objects",
        sa.Column("team_id", _TEAM_ID, nullable=False),
        *_texts("id", "filename", "purpose"),
        _number("byte_count"),
        *_texts("sha256", "mime_type", "declared", "blob"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"]),
        sa.PrimaryKeyConstraint("team_id", "id"),
    )
    _index_of_expiring("file_objects")


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("team_id", _TEAM_ID, nullable=False),
        *_texts("id", "filename", "purpose", "declared"),
        _number("byte_count"),
        sa.Column("file_seconds", sa.Integer()),
        *_texts("status"),
        sa.Column("file_id", sa.String()),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"]),
        sa.PrimaryKeyConstraint("team_id", "id"),
    )
    op.create_index(None, "uploads", ["expires_at"])
    op.create_table(
        "upload_parts",
        _number("team_id"),
        *_texts("upload_id", "id", "blob"),
        _number("byte_count"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["team_id", "upload_id"], ["uploads.team_id", "uploads.id"]),
        sa.PrimaryKeyConstraint("team_id", "upload_id", "id"),
    )


def _create_vector_stores() -> None:
    op.create_table(
        "vector_stores",
        _number("team_id"),
        _number("project_id"),
        *_texts("name"),
        sa.Column("description", sa.String()),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("expires_days", sa.Integer()),
        *(sa.Column(name, _TIME) for name in ("last_active_at", "expires_at", "expired_at")),
        sa.ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),
        sa.PrimaryKeyConstraint("team_id", "project_id"),
    )
    _index_of_expiring("vector_stores")


def _create_batches() -> None:
    op.create_table(
        "file_batches",
        _number("team_id"),
        *_texts("id"),
        _number("project_id"),
        sa.Column("job_ids", sa.JSON(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("cancelled_at", _TIME),
        sa.ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),
        sa.PrimaryKeyConstraint("team_id", "id"),
    )
    op.create_index(None, "file_batches", ["created_at"])
    op.create_table(
        "batch_files",
        _number("team_id"),
        *_texts("batch_id", "doc_id"),
        _number("project_id"),
        sa.ForeignKeyConstraint(
            ["team_id", "batch_id"], ["file_batches.team_id", "file_batches.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("team_id", "batch_id", "doc_id"),
    )
    op.create_index(None, "batch_files", ["team_id", "project_id", "doc_id"])


def _number(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.String(), nullable=False) for name in names]


def _index_of_expiring(table: str) -> None:
    condition = sa.text("expires_at IS NOT NULL")
    options: dict[str, Any] = {"sqlite_where": condition, "postgresql_where": condition}
    op.create_index(f"ix__{table}__expiring", table, ["expires_at"], **options)
