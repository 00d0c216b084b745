"""short lexemes"""

from __future__ import annotations

from functools import reduce

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_BUCKETS = range(1, 7)
_OLDER = "An older version of the service writes to this database: stop it."


def _prefix(row: str) -> str:
    return f"({row}.team_id || '_' || {row}.project_id || '_')"


def _long(row: str) -> str:
    """The lexemes of a row, from its words, each of which a character of its bucket ends."""
    prefix = _prefix(row)
    joined = reduce(lambda sql, n: f"replace({sql}, char({n}), '_{n} ' || {prefix})", _BUCKETS, f"{row}.lexemes")
    return f"(SELECT substr(joined, 1, length(joined) - length({prefix}) - 1) FROM (SELECT {prefix} || {joined} AS joined))"  # noqa: S608, E501


def _short(row: str) -> str:
    prefix = _prefix(row)
    ended = f"({row}.lexemes || ' ' || {prefix})"
    words = reduce(lambda sql, n: f"replace({sql}, '_{n} ' || {prefix}, char({n}))", _BUCKETS, ended)
    return f"substr({words}, length({prefix}) + 1)"


def _rewrite(lexemes: str) -> str:
    return f"UPDATE keywords SET lexemes = {lexemes} WHERE lexemes <> ''"  # noqa: S608


def _triggers(inserted: str, deleted: str) -> tuple[str, ...]:
    add = f"INSERT INTO keyword_lexemes (rowid, lexemes) VALUES (new.posting, {inserted})"  # noqa: S608
    columns = "keyword_lexemes, rowid, lexemes"
    remove = f"INSERT INTO keyword_lexemes ({columns}) VALUES ('delete', old.posting, {deleted})"  # noqa: S608
    return (
        f"CREATE TRIGGER keywords_come AFTER INSERT ON keywords BEGIN {add}; END",
        f"CREATE TRIGGER keywords_go AFTER DELETE ON keywords BEGIN {remove}; END",
    )


_DROP = ("DROP TRIGGER keywords_come", "DROP TRIGGER keywords_go")
_REFUSE = (
    "CREATE TRIGGER keywords_of_older_versions BEFORE INSERT ON keywords WHEN instr(new.lexemes, '_') "
    f"BEGIN SELECT RAISE(ABORT, '{_OLDER}'); END"
)


def upgrade() -> None:
    """On SQLite a row repeated its key in every lexeme. It keeps the words; the triggers complete them."""
    if op.get_bind().dialect.name == "sqlite":
        for statement in (*_DROP, _rewrite(_short("keywords")), *_triggers(_long("new"), _long("old")), _REFUSE):
            op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER keywords_of_older_versions")
        for statement in (*_DROP, _rewrite(_long("keywords")), *_triggers("new.lexemes", "old.lexemes")):
            op.execute(statement)
