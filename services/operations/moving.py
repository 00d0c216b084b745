"""Take a whole installation from one database to another. Nothing is embedded, and a move that was cut goes on.

While it lasts the target's schema version is one that no process opens, so nobody works on half a database, and
the table *unfinished_move* says which source it comes from and how far each table got. Every batch commits
together with its place, so a kill at any instruction loses and doubles nothing. Checkpoints are files of a host and
stay behind: workers of the target write their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    CursorResult,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    and_,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from database.dialects import epoch_now
from database.engine import Database, Kind
from domain import JobStatus
from errors import Conflict, Invalid, ServiceError, Unstorable
from job_queue import JobQueue
from migrations.upgrade import HEAD, MOVING, bring_up_to_date, current_revision, set_revision
from models import Base, Doc, IndexRow, Job, KeywordRow, Project, VectorRow, WorkerRow
from services.index.publishing import ask_for_rebuild
from services.operations.comparing import Compared, Side, compare

Row = dict[str, Any]

ROWS_PER_BATCH = 1000
BYTES_PER_BATCH = 8 << 20
_STREAMED = {"yield_per": 20}  # what a driver holds at once: a text may have 10 million characters

# What a process says of itself is true of the database that it works on, and what searches is made again.
_LEFT_BEHIND = {WorkerRow.__tablename__, VectorRow.__tablename__, KeywordRow.__tablename__}
_NO_CHECKPOINT: Mapping[str, Any] = {
    "faiss_path": None,
    "checksum": None,
    "covered_seq": 0,
    "ntotal": 0,
    "changes": 0,
    "vectors_seq": 0,
    "problem": None,
}
_NO_KEYWORDS: Mapping[str, Any] = {"keywords_seq": -1, "keywords_number": None}
_STOP = "Stop the API and the workers of the source before the move, and start them on the target after it."


def _tables() -> list[Table]:
    """The models' tables, referred ones first. In these a null of a JSON column is a null, not the JSON null."""
    copied = MetaData()
    for table in Base.metadata.sorted_tables:
        for column in table.to_metadata(copied).columns:
            if isinstance(column.type, JSON):
                column.type = JSON(none_as_null=True)
    return [table for table in copied.sorted_tables if table.name not in _LEFT_BEHIND]


TABLES = _tables()
_MARKER = Table("unfinished_move", MetaData(), Column("part", String, primary_key=True), Column("told", Text))
_SOURCE = " source"  # the name of no table


@dataclass(frozen=True)
class MovingService:
    """begin, copy, compare, finish: each may be repeated by another process from the first on."""

    source: Database
    target: Database
    queue: JobQueue
    batch_rows: int = ROWS_PER_BATCH

    def begin(self) -> int:
        """Mark the target, or find the mark of the same move. Returns how many rows there are to copy in all.

        Raises Conflict when the source is at work or changed, and when the target is not empty or another move's.
        """
        if identity(self.source) == identity(self.target):
            raise Conflict(f"Source and target are the same database: {identity(self.source)}.")
        _require_schema(self.source)
        self._require_rest()
        fingerprint, rows = self._fingerprint()
        if current_revision(self.target) != MOVING:
            with self.target.read() as session:
                _require_empty(session.connection())
            bring_up_to_date(self.target)
            with self.target.migrating() as connection:
                _mark(connection, {"source": identity(self.source), "fingerprint": fingerprint})
        told = self._told(_SOURCE)
        if told["source"] != identity(self.source):
            raise Conflict(
                f"The target holds an unfinished move from another source, {told['source']}: finish that one, "
                "or name an empty database."
            )
        self._require_unchanged()
        return rows

    def copy(self) -> Iterator[int]:
        """Copy what is still missing, batch by batch. Yields how many rows there are by now."""
        done = sum(self._told(table.name)["rows"] for table in TABLES)
        yield done
        for table in TABLES:
            for count in self._copied(table):
                done += count
                yield done
        self._require_unchanged()

    def compare(self, show: Callable[[int], None]) -> list[Compared]:
        """Both sides of every part, of every column of every row. *show* hears how many rows were read."""
        sides = (Side(self.source, _as_moved), Side(self.target, _as_moved))
        return compare(*sides, TABLES, show)

    def finish(self, compared: Sequence[Compared]) -> int:
        """Open the target to the service. Returns how many rebuild jobs were queued for its workers.

        Raises Conflict, and leaves the target marked, when anything differs or the source has changed.
        """
        self._require_unchanged()
        if differing := [part for part in compared if not part.is_equal]:
            raise Conflict(
                f"{len(differing)} of {len(compared)} parts differ between source and target, which stays closed: "
                "empty the target and move again."
            )
        live = select(Project.live_chunks).where(Project.team_id == IndexRow.team_id, Project.id == IndexRow.project_id)
        with self.target.write() as session:
            session.execute(update(IndexRow).values(changes=func.coalesce(live.scalar_subquery(), 0)))
            session.execute(update(Project).where(Project.live_chunks == 0).values(keywords_seq=Project.seq))
            projects = session.scalars(select(Project).where(Project.live_chunks > 0)).all()
            for project in projects:
                ask_for_rebuild(self.queue, session, project)
            if self.target.kind is Kind.POSTGRES:
                _settle_postgres(session)
            _MARKER.drop(session.connection())
            set_revision(session.connection(), HEAD)
        return len(projects)

    def _copied(self, table: Table) -> Iterator[int]:
        """Yields the size of each batch, which is in the target by then."""
        told = self._told(table.name)
        while rows := self._next_rows(table, told["last"]):
            last = [_written(rows[-1][column.name]) for column in table.primary_key]
            now = {"last": last, "rows": told["rows"] + len(rows)}
            self._store(table, rows, before=told, now=now)
            told = now
            yield len(rows)

    def _next_rows(self, table: Table, last: list[Any] | None) -> list[Row]:
        """What comes behind *last* in the source's own order, which is not that of any other database."""
        key = list(table.primary_key)
        query = select(table).order_by(*key).limit(self.batch_rows)
        if last is not None:
            read = zip(last, key, strict=True)
            query = query.where(tuple_(*key) > tuple_(*(literal(_read(each, of), of.type) for each, of in read)))
        rows: list[Row] = []
        size = 0
        with self.source.read() as session, session.execute(query, execution_options=_STREAMED) as found:
            for each in found:
                row = _as_moved(table, each._asdict())
                rows.append(row)
                size += sum(len(value) for value in row.values() if isinstance(value, str | bytes))
                if size > BYTES_PER_BATCH:
                    break
        return rows

    def _store(self, table: Table, rows: list[Row], *, before: Any, now: Any) -> None:
        self.target.refuse_when_nearly_full()
        here = and_(_MARKER.c.part == table.name, _MARKER.c.told == json.dumps(before))
        try:
            with self.target.write() as session:
                done = session.execute(update(_MARKER).where(here).values(told=json.dumps(now)))
                assert isinstance(done, CursorResult)
                if done.rowcount == 0:
                    raise Conflict("Another move to the same target is at work: let that one end.")
                session.execute(insert(table), rows)
        except Unstorable as error:
            raise self._unstorable(table, rows) from error

    def _unstorable(self, table: Table, rows: list[Row]) -> ServiceError:
        """Which row is it that the target cannot hold? Each is tried by itself, and not kept."""
        for row in rows:
            try:
                with self.target.read() as session:
                    session.execute(insert(table), [row])
            except Unstorable as error:
                key = ", ".join(f"{column.name}={_written(row[column.name])!r}" for column in table.primary_key)
                return Invalid(
                    f"The target cannot hold this row of {table.name}: {key} ({error.reason}). Correct it in the "
                    "source, empty the target and move again."
                )
        return Invalid(f"The target cannot hold the rows of {table.name}.")

    def _require_rest(self) -> None:
        at_work = and_(Job.status == JobStatus.RUNNING, Job.lease_until >= epoch_now())
        with self.source.read() as session:
            running = session.scalar(select(func.count()).select_from(Job).where(at_work))
        if running:
            raise Conflict(f"{running} jobs run in the source. {_STOP} What a dead worker held is free in a moment.")

    def _require_unchanged(self) -> None:
        self._require_rest()
        if self._fingerprint()[0] != self._told(_SOURCE)["fingerprint"]:
            raise Conflict(f"The source has changed since the move began. {_STOP} Empty the target and move again.")

    def _fingerprint(self) -> tuple[str, int]:
        """What no accepted change leaves as it was, and the number of rows."""
        with self.source.read() as session:
            numbers = select(Project.team_id, Project.id, Project.seq, Project.next_faiss_id, Project.embedding_version)
            projects = session.execute(numbers.order_by(Project.team_id, Project.id)).all()
            latest = [session.scalar(select(func.max(column))) for column in (Doc.updated_at, Job.updated_at)]
            counts = {table.name: session.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES}
        told = json.dumps([HEAD, [list(row) for row in projects], [str(each) for each in latest], counts])
        return hashlib.sha256(told.encode()).hexdigest(), sum(counts.values())

    def _told(self, part: str) -> Any:
        with self.target.read() as session:
            return json.loads(session.execute(select(_MARKER.c.told).where(_MARKER.c.part == part)).scalar_one())


def identity(database: Database) -> str:
    """Which database it is, without who asks. A host that has two names is two."""
    if database.file is not None:
        return f"sqlite {database.file.resolve()}"
    url = database.engine.url
    host = url.host or url.query.get("host") or "localhost"
    return f"postgresql {host}:{url.port or 5432}/{url.database}"


def _require_schema(database: Database) -> None:
    found = current_revision(database)
    if found == MOVING:
        raise Conflict("The source is itself the target of an unfinished move: finish that one first.")
    if found != HEAD:
        told = f"The source has schema {found or 'none'}, and this code has {HEAD}"
        raise Conflict(f"{told}: bring it up to date with manage.py migrate first.")


def _require_empty(connection: Connection) -> None:
    there = set(inspect(connection).get_table_names())
    ours = [table for table in Base.metadata.sorted_tables if table.name in there]
    filled = [table.name for table in ours if connection.execute(select(literal(1)).select_from(table)).first()]
    if filled:
        raise Conflict(
            f"The target is not empty: it has rows in {', '.join(filled)}. A move never adds to what is there: "
            "name an empty database."
        )


def _mark(connection: Connection, source: Mapping[str, str]) -> None:
    """In one transaction, under the lock of migrations: nobody can have come in between."""
    if inspect(connection).has_table(_MARKER.name):
        raise Conflict("Another move to the same target has just begun: let that one end.")
    _require_empty(connection)
    _MARKER.create(connection)
    nothing = json.dumps({"last": None, "rows": 0})
    told = [{"part": table.name, "told": nothing} for table in TABLES]
    connection.execute(insert(_MARKER), [{"part": _SOURCE, "told": json.dumps(source)}, *told])
    set_revision(connection, MOVING)


def _settle_postgres(session: Session) -> None:
    """Numbers go on behind the largest that was copied; and the planner learns how much there is now."""
    for table in TABLES:
        if (column := table.autoincrement_column) is not None:
            largest = select(func.max(column)).scalar_subquery()
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            session.execute(select(func.setval(sequence, func.coalesce(largest, 1), largest.is_not(None))))
    session.execute(text(f"ANALYZE {', '.join(table.name for table in TABLES)}"))


def _as_moved(table: Table, row: Row) -> Row:
    """A row as it is on both sides until the end: a row of *indices* names no file, keywords lag."""
    left = {IndexRow.__tablename__: _NO_CHECKPOINT, Project.__tablename__: _NO_KEYWORDS}
    return {**row, **left.get(table.name, {})}


def _written(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _read(value: Any, column: Column[Any]) -> Any:
    return bytes.fromhex(value) if isinstance(column.type, LargeBinary) else value
