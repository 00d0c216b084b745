"""The query plans of what is executed: which steps walk a table that grows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine, event

import database.prepared

GROWS = {"chunks", "docs", "revisions", "keywords", "vectors", "embeddings", "files", "jobs", "query_logs"}
GROWS |= {"query_citations"}
TENANT = {"team_id", "project_id", "embedding_version"}

READS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan")
PARTIAL = {"uq__jobs__waiting"}  # of jobs that wait, of which a namespace has few

# Why a statement may read all rows of a namespace, or all of a table.
ALLOWED = {
    "FROM files JOIN revisions": "Postgres knows that no document here is a file, and reads the empty table",
    "embedding <=> CAST(": "exact search with pgvector compares every vector of the partition",
    "JOIN keywords ON keywords.lexemes @@": "its transaction forbids what this test's connection may choose",
    "SELECT jobs.job_id FROM jobs WHERE jobs.status = ": "ends at the first job that is due, with LIMIT 1",
    "SELECT jobs.team_id FROM jobs WHERE jobs.status = ": "ends at the first team, in the order of the index",
}


@dataclass
class Executed:
    """The statements of this process's engines: the engine, the text, the parameters of the first execution."""

    statements: list[tuple[Engine, str, Any]] = field(default_factory=list)

    def note(self, engine: Engine, statement: str, parameters: Any, *, is_many: bool) -> None:
        if re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT|WITH)\b", statement, re.IGNORECASE):
            self.statements.append((engine, statement, parameters[0] if is_many else parameters))

    @property
    def texts(self) -> list[str]:
        return [statement for _, statement, _ in self.statements]

    def sqlite_plans(self) -> dict[str, list[str]]:
        """The steps of each statement that reads."""
        plans = {}
        for engine, statement, parameters in self.statements:
            if statement.lstrip().startswith("SELECT"):
                with engine.connect() as connection:
                    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
                plans[statement] = [row[3] for row in rows]
        return plans

    def walks(self) -> dict[str, list[str]]:
        return {
            " ".join(statement.split())[:400]: steps
            for engine, statement, parameters in self.statements
            if (steps := walks_in(engine, statement, parameters))
            and not any(each in " ".join(statement.split()) for each in ALLOWED)
        }


def walks_in(engine: Engine, statement: str, parameters: Any) -> list[str]:
    """The steps that read every row of a table that grows, or all of a namespace's rows in it."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            return [row[3] for row in rows if is_sqlite_walk(row[3])]
        [[[plan]]] = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).all()
        return list(postgres_walks(plan["Plan"], None))


def is_sqlite_walk(step: str) -> bool:
    match = re.match(r"(SCAN|SEARCH) (\w+)(?: .*\((.*)\))?", step)
    if match is None or match[2] not in GROWS:
        return False
    return match[1] == "SCAN" or set(re.findall(r"(\w+)[=<>]", match[3] or "")) <= TENANT


def postgres_walks(node: dict[str, Any], table: str | None) -> Iterator[str]:
    table = node.get("Relation Name", table)
    used = set(re.findall(r"\(?(\w+)\)?(?:::\w+)? (?:[=<>@]+|IS)", node.get("Index Cond", "")))
    is_read = node["Node Type"] in READS and node.get("Index Name") not in PARTIAL
    if is_read and table in GROWS and used <= TENANT:
        yield f"{node['Node Type']} of {table}, {node.get('Index Name')}, by {node.get('Index Cond')}"
    for inner in node.get("Plans", []):
        yield from postgres_walks(inner, table)


@contextmanager
def executed() -> Iterator[Executed]:
    seen, run = Executed(), database.prepared._run

    def on_execute(connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: Any) -> None:
        seen.note(connection.engine, statement, parameters, is_many=many)

    def on_run(connection: Any, sql: str, parameters: Any, *, is_many: bool = False) -> Any:
        seen.note(connection.engine, sql, parameters, is_many=is_many)
        return run(connection, sql, parameters, is_many=is_many)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database.prepared, "_run", on_run)
        event.listen(Engine, "before_cursor_execute", on_execute)
        try:
            yield seen
        finally:
            event.remove(Engine, "before_cursor_execute", on_execute)
