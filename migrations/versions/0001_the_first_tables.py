"""the first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "embedding_versions",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("is_remote", sa.Boolean(), nullable=False),
        sa.Column("query_prompt", sa.String(), nullable=True),
        sa.Column("document_prompt", sa.String(), nullable=True),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk__embedding_versions")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("request_hash", sa.String(), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("response_headers", sa.String(), nullable=True),
        sa.Column("response_body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk__idempotency_keys")),
    )
    op.create_table(
        "teams",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("next_project_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk__teams")),
        sa.UniqueConstraint("name", name=op.f("uq__teams__name")),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk__workers")),
    )
    op.create_table(
        "embeddings",
        sa.Column("team_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("embedding_version", sa.String(), nullable=False),
        sa.Column("embed_hash", sa.LargeBinary(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["embedding_version"], ["embedding_versions.name"], name=op.f("fk__embeddings__embedding_versions")
        ),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk__embeddings__teams")),
        sa.PrimaryKeyConstraint("team_id", "embedding_version", "embed_hash", name=op.f("pk__embeddings")),
    )
    op.create_table(
        "projects",
        sa.Column("team_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("embedding_version", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("next_faiss_id", sa.BigInteger(), nullable=False),
        sa.Column("live_docs", sa.BigInteger(), nullable=False),
        sa.Column("live_chunks", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["embedding_version"], ["embedding_versions.name"], name=op.f("fk__projects__embedding_versions")
        ),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk__projects__teams")),
        sa.PrimaryKeyConstraint("team_id", "id", name=op.f("pk__projects")),
        sa.UniqueConstraint("team_id", "name", name=op.f("uq__projects__team_id_name")),
    )
    op.create_table(
        "docs",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("doc_id", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("live_revision", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "project_id"], ["projects.team_id", "projects.id"], name=op.f("fk__docs__projects")
        ),
        sa.PrimaryKeyConstraint("team_id", "project_id", "doc_id", name=op.f("pk__docs")),
    )
    op.create_table(
        "indices",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("embedding_version", sa.String(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("faiss_path", sa.String(), nullable=True),
        sa.Column("checksum", sa.String(), nullable=True),
        sa.Column("covered_seq", sa.BigInteger(), nullable=False),
        sa.Column("ntotal", sa.BigInteger(), nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["embedding_version"], ["embedding_versions.name"], name=op.f("fk__indices__embedding_versions")
        ),
        sa.ForeignKeyConstraint(
            ["team_id", "project_id"], ["projects.team_id", "projects.id"], name=op.f("fk__indices__projects")
        ),
        sa.PrimaryKeyConstraint("team_id", "project_id", "embedding_version", name=op.f("pk__indices")),
    )
    op.create_table(
        "jobs",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("payload_json", sa.JSON(), nullable=False),
        sa.Column("result_json", sa.JSON(), nullable=True),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("dedupe_key", sa.String(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("run_after", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["team_id", "project_id"], ["projects.team_id", "projects.id"], name=op.f("fk__jobs__projects")
        ),
        sa.PrimaryKeyConstraint("team_id", "job_id", name=op.f("pk__jobs")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix__jobs__created_at_job_id"), ["created_at", "job_id"], unique=False)
        batch_op.create_index(batch_op.f("ix__jobs__job_id"), ["job_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix__jobs__status_team_id_created_at"), ["status", "team_id", "created_at"], unique=False
        )
        batch_op.create_index(
            "uq__jobs__waiting",
            ["team_id", "project_id", "dedupe_key"],
            unique=True,
            sqlite_where=sa.text("status = 'pending' AND dedupe_key IS NOT NULL"),
            postgresql_where=sa.text("status = 'pending' AND dedupe_key IS NOT NULL"),
        )

    op.create_table(
        "revisions",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("doc_id", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("doc_hash", sa.String(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=True),
        sa.Column("source_type", sa.String(), nullable=False),
        sa.Column("mime_type", sa.String(), nullable=False),
        sa.Column("blob_uri", sa.String(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("chunk_count", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "project_id", "doc_id"],
            ["docs.team_id", "docs.project_id", "docs.doc_id"],
            name=op.f("fk__revisions__docs"),
        ),
        sa.PrimaryKeyConstraint("team_id", "project_id", "doc_id", "revision", name=op.f("pk__revisions")),
    )
    with op.batch_alter_table("revisions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix__revisions__job_id_status"), ["job_id", "status"], unique=False)

    op.create_table(
        "chunks",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("faiss_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("doc_id", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("chunk_index", sa.Integer(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("header", sa.String(), nullable=False),
        sa.Column("section", sa.String(), nullable=True),
        sa.Column("chunk_hash", sa.String(), nullable=False),
        sa.Column("embed_hash", sa.LargeBinary(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=True),
        sa.Column("page_start", sa.Integer(), nullable=True),
        sa.Column("page_end", sa.Integer(), nullable=True),
        sa.Column("char_start", sa.Integer(), nullable=False),
        sa.Column("char_end", sa.Integer(), nullable=False),
        sa.Column("token_count", sa.Integer(), nullable=False),
        sa.Column("live_seq", sa.BigInteger(), nullable=True),
        sa.Column("dead_seq", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "project_id", "doc_id", "revision"],
            ["revisions.team_id", "revisions.project_id", "revisions.doc_id", "revisions.revision"],
            name=op.f("fk__chunks__revisions"),
        ),
        sa.PrimaryKeyConstraint("team_id", "project_id", "faiss_id", name=op.f("pk__chunks")),
    )
    with op.batch_alter_table("chunks", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix__chunks__team_id_project_id_dead_seq"), ["team_id", "project_id", "dead_seq"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix__chunks__team_id_project_id_doc_id_revision_chunk_index"),
            ["team_id", "project_id", "doc_id", "revision", "chunk_index"],
            unique=True,
        )
        batch_op.create_index(
            batch_op.f("ix__chunks__team_id_project_id_live_seq"), ["team_id", "project_id", "live_seq"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("chunks", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix__chunks__team_id_project_id_live_seq"))
        batch_op.drop_index(batch_op.f("ix__chunks__team_id_project_id_doc_id_revision_chunk_index"))
        batch_op.drop_index(batch_op.f("ix__chunks__team_id_project_id_dead_seq"))

    op.drop_table("chunks")
    with op.batch_alter_table("revisions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix__revisions__job_id_status"))

    op.drop_table("revisions")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(
            "uq__jobs__waiting",
            sqlite_where=sa.text("status = 'pending' AND dedupe_key IS NOT NULL"),
            postgresql_where=sa.text("status = 'pending' AND dedupe_key IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix__jobs__status_team_id_created_at"))
        batch_op.drop_index(batch_op.f("ix__jobs__job_id"))
        batch_op.drop_index(batch_op.f("ix__jobs__created_at_job_id"))

    op.drop_table("jobs")
    op.drop_table("indices")
    op.drop_table("docs")
    op.drop_table("projects")
    op.drop_table("embeddings")
    op.drop_table("workers")
    op.drop_table("teams")
    op.drop_table("idempotency_keys")
    op.drop_table("embedding_versions")
