"""quotas, and the log of who changed what"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
import zstandard
from alembic import op

revision = "0020"
down_revision = "0018"
branch_labels = None
depends_on = None

_MAGIC = b"\x28\xb5\x2f\xfd"
_HEAD_BYTES = 32
_KEY = ("team_id", "project_id", "doc_id", "revision")
_REVISIONS = sa.table("revisions", *(sa.column(name) for name in (*_KEY, "text", "byte_count")))
_QUOTAS = ("quota_documents", "quota_chunks", "quota_bytes", "quota_embedded_chunks_per_day")
_BYTES = """
    UPDATE revisions SET byte_count = {size} + coalesce((
        SELECT byte_count FROM files WHERE files.team_id = revisions.team_id
        AND files.project_id = revisions.project_id AND files.doc_id = revisions.doc_id
        AND files.revision = revisions.revision), 0)
    WHERE status IN ('live', 'pending', 'failed', 'cancelled')
"""
_LIVE_BYTES = """
    UPDATE projects SET live_bytes = coalesce((
        SELECT sum(byte_count) FROM revisions WHERE revisions.team_id = projects.team_id
        AND revisions.project_id = projects.id AND revisions.status = 'live'), 0)
"""


def upgrade() -> None:
    big, zero, false = sa.BigInteger(), sa.text("0"), sa.false()
    for name in _QUOTAS:
        op.add_column("teams", sa.Column(name, big))
    op.add_column("projects", sa.Column("live_bytes", big, server_default=zero, nullable=False))
    op.add_column("projects", sa.Column("has_quotas", sa.Boolean(), server_default=false, nullable=False))
    op.add_column("revisions", sa.Column("byte_count", big, server_default=zero, nullable=False))
    op.create_index(None, "ingest_usage", ["team_id", "day"])
    _count_bytes()
    _create_audit_log()


def downgrade() -> None:
    op.drop_table("audit_log")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_table("audit_chain")
    op.drop_index("ix__ingest_usage__team_id_day", "ingest_usage")
    op.drop_column("revisions", "byte_count")
    op.drop_column("projects", "has_quotas")
    op.drop_column("projects", "live_bytes")
    for name in _QUOTAS:
        op.drop_column("teams", name)


def _count_bytes() -> None:
    """Of what is live, or may become so. A compressed text says in its first bytes how long it is."""
    bind = op.get_bind()
    size = "length(CAST(text AS BLOB))" if bind.dialect.name == "sqlite" else "octet_length(text)"
    op.execute(_BYTES.format(size=size))
    head = sa.func.substr(_REVISIONS.c.text, 1, _HEAD_BYTES)
    is_compressed = sa.func.substr(_REVISIONS.c.text, 1, len(_MAGIC)) == sa.literal(_MAGIC)
    columns: tuple[Any, ...] = (*(_REVISIONS.c[name] for name in _KEY), sa.text(size), head)
    for *key, stored, start in bind.execute(
        sa.select(*columns).where(is_compressed, _REVISIONS.c.byte_count > 0)
    ).all():
        more = zstandard.frame_content_size(bytes(start)) - stored
        is_row: list[Any] = [_REVISIONS.c[name] == value for name, value in zip(_KEY, key, strict=True)]
        bind.execute(sa.update(_REVISIONS).where(*is_row).values(byte_count=_REVISIONS.c.byte_count + more))
    op.execute(_LIVE_BYTES)


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        *_chain(),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.String()),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("request_id", sa.String()),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(None, "audit_log", ["tenant_id", "number"])
    if op.get_bind().dialect.name == "postgresql":
        id = sa.Column("id", sa.Integer(), autoincrement=False, nullable=False)
        op.create_table("audit_chain", id, *_chain(), sa.PrimaryKeyConstraint("id"))


def _chain() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
    )
