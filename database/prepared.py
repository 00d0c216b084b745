"""Statements of the hot paths, whose text is made once and given straight to the driver.

For a handful of rows, SQLAlchemy takes ten times as long to build a statement and its result as the database to run it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Dialect,
    Executable,
    Text,
    TypeDecorator,
    bindparam,
    inspect,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value

Model = TypeVar("Model", bound=DeclarativeBase)
Row = tuple[Any, ...]
Parameters = Mapping[str, Any]
Builder = Callable[[str], Executable]
"""Builds the statement for the dialect of that name."""


_NEW = "new_"


class PreparedStatement:
    """Its rows are plain tuples of the values that the columns' types stand for.

    Every parameter must be given. What the session has not flushed is not seen.
    """

    def __init__(self, statement: Executable | Builder) -> None:
        self._source = statement
        self._texts: dict[str, _Text] = {}

    def rows(self, session: Session, parameters: Parameters) -> list[Row]:
        connection = session.connection()
        text = self._text_for(connection.dialect)
        return text.converted(_run(connection, text.sql, text.arranged(parameters)))

    def run_many(self, session: Session, rows: Sequence[Parameters]) -> None:
        """Once for each of *rows*, in one call of the driver."""
        if rows:
            connection = session.connection()
            text = self._text_for(connection.dialect)
            _run(connection, text.sql, [text.arranged(row) for row in rows], is_many=True)

    def _text_for(self, dialect: Dialect) -> _Text:
        text = self._texts.get(dialect.name)
        if text is None:
            statement = self._source(dialect.name) if callable(self._source) else self._source
            text = self._texts[dialect.name] = _Text.of(statement, dialect)
        return text


def attributes_of(table: Any) -> tuple[str, ...]:
    """The names of a mapped class's columns, in the order in which select(*table*) returns them."""
    return tuple(table.__mapper__.column_attrs.keys())


def attached(session: Session, model: type[Model], names: Sequence[str], values: Sequence[Any]) -> Model:
    """The row that has these *values* in the database, for the session to write what will be changed in it.

    A row that the session has already is refreshed.
    """
    attributes = dict(zip(names, values, strict=True))
    row = model(**attributes)
    present: Model | None = session.identity_map.get(model.__mapper__.identity_key_from_instance(row))
    if present is None:
        make_transient_to_detached(row)
        session.add(row)
        return row
    for name, value in attributes.items():
        set_committed_value(present, name, value)
    return present


def write_and_release(session: Session, row: DeclarativeBase) -> None:
    """Write what has changed in the row, which then belongs to no session. A flush would take ten times as long."""
    state, key = inspect(row), row.__mapper__.primary_key
    if changed := tuple(state.committed_state):
        values = {_NEW + name: getattr(row, name) for name in changed}
        values |= {column.name: value for column, value in zip(key, state.identity or (), strict=True)}
        _update_of(type(row), changed).rows(session, values)
    session.expunge(row)


@cache
def _update_of(model: type[DeclarativeBase], names: tuple[str, ...]) -> PreparedStatement:
    columns, key = model.__mapper__.columns, model.__mapper__.primary_key
    values = {columns[name]: bindparam(_NEW + name, type_=columns[name].type) for name in names}
    return PreparedStatement(update(model).where(*(each == bindparam(each.name) for each in key)).values(values))


def is_among(column: Any, parameter: str) -> ColumnElement[bool]:
    """Whether the column is one of the values in a list parameter. However many they are, the text is the same."""
    return _Among(column, parameter)


def inserted(
    table: Any, *, keeping: bool = False, replacing: Sequence[str] = (), adding: Sequence[str] = ()
) -> Builder:
    """INSERT of whole rows; the parameters are all attributes of the mapped class *table*.

    If the row exists: *keeping* it is no error, *replacing* overwrites these attributes, *adding* adds to them.
    """
    columns = {each.key: each.columns[0] for each in table.__mapper__.column_attrs}

    def build(dialect_name: str) -> Executable:
        values = {column: bindparam(name, type_=column.type) for name, column in columns.items()}
        statement: Any = (sqlite if dialect_name == "sqlite" else postgresql).insert(table.__table__).values(values)
        change = {columns[name].name: statement.excluded[columns[name].name] for name in (*replacing, *adding)}
        change |= {columns[name].name: columns[name] + change[columns[name].name] for name in adding}
        if change:
            return statement.on_conflict_do_update(index_elements=list(table.__table__.primary_key), set_=change)  # type: ignore[no-any-return]
        return statement.on_conflict_do_nothing() if keeping else statement  # type: ignore[no-any-return]

    return build


class _List(TypeDecorator[Any]):
    """A list as one parameter: an array, and JSON where there are none."""

    impl = ARRAY
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else self.impl_instance)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return json.dumps(value) if dialect.name == "sqlite" else value


class _Among(ColumnElement[bool]):
    inherit_cache = False

    def __init__(self, column: Any, parameter: str) -> None:
        self.column, self.values = column, bindparam(parameter, type_=_List(column.type))


@compiles(_Among)
def _compile_among(element: _Among, compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(each, **options) for each in (element.column, element.values))
    return f"{column} = ANY({values})"


@compiles(_Among, "sqlite")
def _compile_among_for_sqlite(element: _Among, compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(each, **options) for each in (element.column, element.values))
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - both are compiled


@dataclass(frozen=True, slots=True)
class _Text:
    """A compiled statement. *names* are those of the parameters, in order, where the driver counts them.

    *constants* are the values that the statement itself contains. Values are encoded by name, decoded by position.
    """

    sql: str
    names: Sequence[str] | None
    constants: Parameters
    encoders: Sequence[tuple[str, Callable[[Any], Any]]]
    decoders: Sequence[tuple[int, Callable[[Any], Any]]]

    @classmethod
    def of(cls, statement: Any, dialect: Dialect) -> _Text:
        compiled = statement.compile(dialect=dialect)
        types = {name: bind.type.dialect_impl(dialect) for bind, name in compiled.bind_names.items()}
        encoders = [(name, type_.bind_processor(dialect)) for name, type_ in types.items()]
        results = [column.type.dialect_impl(dialect) for column in getattr(statement, "exported_columns", ())]
        decoders = [(number, type_.result_processor(dialect, None)) for number, type_ in enumerate(results)]
        return cls(
            str(compiled),
            compiled.positiontup,
            compiled.params,
            [(name, encode) for name, encode in encoders if encode is not None],
            [(number, decode) for number, decode in decoders if decode is not None],
        )

    def arranged(self, parameters: Parameters) -> Any:
        values = {**self.constants, **parameters}
        for name, encode in self.encoders:
            values[name] = encode(values[name])
        return values if self.names is None else tuple(values[name] for name in self.names)

    def converted(self, rows: list[Row]) -> list[Row]:
        return [self._decoded(list(row)) for row in rows] if self.decoders else rows

    def _decoded(self, row: list[Any]) -> Row:
        for position, decode in self.decoders:
            row[position] = decode(row[position])
        return tuple(row)


def _run(connection: Connection, sql: str, parameters: Any, *, is_many: bool = False) -> list[Row]:
    """Errors are those that SQLAlchemy would raise."""
    driver, dialect = connection.connection, connection.dialect
    error_type: type[Exception] = dialect.loaded_dbapi.Error
    cursor = driver.cursor()
    try:
        (cursor.executemany if is_many else cursor.execute)(sql, parameters)
        return [] if cursor.description is None else list(cursor.fetchall())
    except error_type as error:
        is_lost = dialect.is_disconnect(error, driver.driver_connection, cursor)  # type: ignore[arg-type]
        if is_lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            sql, parameters, error, error_type, connection_invalidated=is_lost, dialect=dialect, ismulti=is_many
        ) from error
    finally:
        cursor.close()
