"""words anew"""

from __future__ import annotations

from alembic import op

from migrations.rebuilds import ask_for_rebuilds

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Row by row the triggers would take minutes where there are many. Nothing else is in the table of lexemes.
_SQLITE = (
    "DROP TRIGGER keywords_go",
    "DELETE FROM keywords",
    "INSERT INTO keyword_lexemes (keyword_lexemes) VALUES ('delete-all')",
    "CREATE TRIGGER keywords_go AFTER DELETE ON keywords BEGIN "
    "INSERT INTO keyword_lexemes (keyword_lexemes, rowid, lexemes) VALUES ('delete', old.posting, old.lexemes); END",
)


def upgrade() -> None:
    """What a word is has changed (codes, digits, scripts, trade marks), so all rows are written anew, by rebuilds."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _SQLITE if is_sqlite else ("DELETE FROM keywords",):
        op.execute(statement)
    op.execute("UPDATE projects SET keywords_seq = 0 WHERE live_chunks > 0")
    ask_for_rebuilds()


def downgrade() -> None:
    """An older version finds most words in the rows as they are."""
