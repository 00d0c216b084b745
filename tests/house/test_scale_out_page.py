"""docs/scale-out.md, held against the models: no table is forgotten, and the statements are theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy import ForeignKeyConstraint, Table

from models import Base
from settings import Settings
from tests.support.processes import ROOT

PAGE = (ROOT / "docs" / "scale-out.md").read_text()
CITUS = PAGE.partition("\n## Citus\n")[2].partition("\n## ")[0]
TABLES = Base.metadata.sorted_tables
OWNED = [table for table in TABLES if "team_id" in table.columns]
REFERRED = [
    table
    for table in TABLES
    if table not in OWNED and any(key.referred_table is table for each in OWNED for key in each.foreign_key_constraints)
]


def test_every_table_is_distributed_referred_to_or_local() -> None:
    rows = dict(re.findall(r"^\| (`[^|]+`) \| (\w+)", CITUS, re.MULTILINE))
    listed = {kind: re.findall(r"`(\w+)`", names) for names, kind in rows.items()}
    local = {table.name for table in TABLES} - {table.name for table in (*OWNED, *REFERRED)} | {"alembic_version"}
    assert {kind: set(names) for kind, names in listed.items()} == {
        "reference": {table.name for table in REFERRED},
        "distributed": {table.name for table in OWNED},
        "local": local,
    }


def test_the_statements_for_citus_are_those_of_the_models() -> None:
    block = re.search(r"^```sql\n(.*?)^```$", CITUS, re.MULTILINE | re.DOTALL)
    assert block is not None
    assert block[1].splitlines() == list(statements())


def test_no_setting_is_named_that_does_not_exist() -> None:
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)[=`]", PAGE))
    assert named
    assert {name for name in named if name.lower() not in Settings.model_fields} == set()


def statements() -> Iterator[str]:
    """Keys between distributed tables step aside; what they refer to comes first."""
    keys = [(table, key) for table in OWNED for key in foreign_keys(table) if key.referred_table in OWNED]
    first = OWNED[0].name
    for table, key in keys:
        yield f"ALTER TABLE {table.name} DROP CONSTRAINT {key.name};"
    for table in REFERRED:
        yield f"SELECT create_reference_table('{table.name}');"
    for table in OWNED:
        place = f", colocate_with => '{first}'" if table.name != first else ""
        yield f"SELECT create_distributed_table('{table.name}', 'team_id'{place});"
    for table, key in keys:
        columns, referred = ", ".join(key.column_keys), ", ".join(each.column.name for each in key.elements)
        refers = f"FOREIGN KEY ({columns}) REFERENCES {key.referred_table.name} ({referred})"
        yield f"ALTER TABLE {table.name} ADD CONSTRAINT {key.name} {refers};"


def foreign_keys(table: Table) -> list[ForeignKeyConstraint]:
    return sorted(table.foreign_key_constraints, key=lambda key: str(key.name))
