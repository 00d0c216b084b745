"""Every column with a tenant's data is on the list that an erasure is held to."""

from __future__ import annotations

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import JSON, LargeBinary, String
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.sql.type_api import TypeEngine

from models import SERVICE_DATA, TENANT_DATA, Base, StoredText


def holds_content(type_: TypeEngine[object]) -> bool:
    return isinstance(type_, String | LargeBinary | JSON | TSVECTOR | VECTOR | StoredText)


def test_every_column_of_text_bytes_or_json_is_a_tenants_or_the_services() -> None:
    columns = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if holds_content(column.type)
    }
    assert not TENANT_DATA & SERVICE_DATA
    unlisted = sorted(columns - TENANT_DATA - SERVICE_DATA)
    assert not unlisted, f"does an erasure have to reach {unlisted}? Put them on one of the lists in models.py"
    assert not sorted((TENANT_DATA | SERVICE_DATA) - columns), "not a column any more"
