"""What every table is made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Index, LargeBinary, MetaData, TypeDecorator, text
from sqlalchemy.orm import DeclarativeBase

from times import in_utc, storable

Json = dict[str, Any]


def utc_now() -> datetime:
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC on every database: SQLite forgets the zone, Postgres answers in its own.

    One without a zone, or that no driver could read again, is refused, as a value and in a comparison alike.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else storable(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else in_utc(value)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix__%(table_name)s__%(column_0_N_name)s",
            "uq": "uq__%(table_name)s__%(column_0_N_name)s",
            "fk": "fk__%(table_name)s__%(referred_table_name)s",
            "pk": "pk__%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, Json: JSON, bytes: LargeBinary}


def partial_index(name: str, condition: str, *columns: str) -> Index:
    """Of the rows alone that meet the condition."""
    return Index(name, *columns, sqlite_where=text(condition), postgresql_where=text(condition))
