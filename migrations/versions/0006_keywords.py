"""keywords"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

from migrations.rebuilds import ask_for_rebuilds

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
    ask_for_rebuilds()


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER keywords_come")
        op.execute("DROP TRIGGER keywords_go")
        op.execute("DROP TABLE keyword_lexemes")
    op.drop_table("keywords")
    for column in ("keywords_number", "keywords_seq"):
        op.drop_column("projects", column)  # not in a batch: that would put another table in its place
