"""keywords"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_SQLITE = (
    # Without the texts: triggers give them back when a row goes. A lexeme is one token, whatever letters it has.
    "CREATE VIRTUAL TABLE keyword_lexemes USING fts5("
    "lexemes, content='', detail=none, columnsize=0, tokenize=\"ascii tokenchars '_'\")",
    "CREATE TRIGGER keywords_come AFTER INSERT ON keywords BEGIN "
    "INSERT INTO keyword_lexemes (rowid, lexemes) VALUES (new.posting, new.lexemes); END",
    "CREATE TRIGGER keywords_go AFTER DELETE ON keywords BEGIN "
    "INSERT INTO keyword_lexemes (keyword_lexemes, rowid, lexemes) VALUES ('delete', old.posting, old.lexemes); END",
)


_NOT_ASKED = sa.text(
    "SELECT team_id, id FROM projects WHERE live_chunks > 0 AND NOT EXISTS (SELECT 1 FROM jobs "
    "WHERE jobs.team_id = projects.team_id AND jobs.project_id = projects.id "
    "AND status = 'pending' AND dedupe_key = 'rebuild_index')"
)


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("projects") as projects:
        projects.add_column(sa.Column("keywords_seq", sa.BigInteger(), server_default="0", nullable=False))
        projects.add_column(sa.Column("keywords_number", sa.BigInteger(), nullable=True))
    op.create_table(
        "keywords",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("faiss_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("posting", sa.BigInteger(), nullable=False),
        sa.Column("lexemes", sa.Text() if is_sqlite else TSVECTOR(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id", "project_id"], ["projects.team_id", "projects.id"], name=op.f("fk__keywords__projects")
        ),
        sa.PrimaryKeyConstraint("team_id", "project_id", "faiss_id", name=op.f("pk__keywords")),
    )
    if is_sqlite:
        for statement in _SQLITE:
            op.execute(statement)
    else:
        op.create_index(
            op.f("ix__keywords__lexemes"),
            "keywords",
            ["lexemes"],
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
        )
    op.execute("UPDATE projects SET keywords_seq = seq WHERE live_chunks = 0")
    _ask_for_rebuilds()


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER keywords_come")
        op.execute("DROP TRIGGER keywords_go")
        op.execute("DROP TABLE keyword_lexemes")
    op.drop_table("keywords")
    for column in ("keywords_number", "keywords_seq"):
        op.drop_column("projects", column)  # not in a batch: that would put another table in its place


def _ask_for_rebuilds() -> None:
    """A worker writes the rows of what is there; until then keyword searches read the chunks themselves."""
    connection = op.get_bind()
    jobs = sa.table(
        "jobs",
        *map(sa.column, ("team_id", "job_id", "project_id", "type", "status", "dedupe_key")),
        *map(sa.column, ("progress", "attempts", "run_after")),
        sa.column("payload_json", sa.JSON()),
        sa.column("cancel_requested", sa.Boolean()),
        sa.column("created_at", sa.DateTime(timezone=True)),
        sa.column("updated_at", sa.DateTime(timezone=True)),
    )
    now = datetime.now(UTC)
    for team_id, project_id in connection.execute(_NOT_ASKED).all():
        connection.execute(
            sa.insert(jobs).values(
                team_id=team_id,
                job_id=str(uuid4()),
                project_id=project_id,
                type="rebuild_index",
                status="pending",
                dedupe_key="rebuild_index",
                progress=0,
                attempts=0,
                run_after=0.0,
                payload_json={},
                cancel_requested=False,
                created_at=now,
                updated_at=now,
            )
        )
