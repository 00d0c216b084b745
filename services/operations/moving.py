"""Moves a whole installation from one database to another. Nothing is embedded, and an interrupted move resumes.

Until it is finished the target has a schema version that no process opens, so nobody works on half a database, and the
table *unfinished_move* records the source and each table's progress. Every batch commits together with its progress,
so a kill at any instruction loses and duplicates nothing. Checkpoints are local files and stay behind: workers of the
target write their own.
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
from database.engine import Database, DatabaseKind
from domain import JobStatus
from errors import Conflict, Invalid, ServiceError, Unstorable
from job_queue import JobQueue
from migrations.upgrade import HEAD, MOVING, bring_up_to_date, current_revision, set_revision
from models import AuditChain, Base, Doc, EventRow, IndexRow, Job, KeywordRow, Project, VectorRow, WorkerRow
from services.index.auditing import record
from services.index.publishing import request_rebuild
from services.operations.comparing import ComparisonSide, PartComparison, compare

Row = dict[str, Any]

BYTES_PER_BATCH = 8 << 20
_STREAMED = {"yield_per": 20}  # rows that a driver buffers: a text may have 10 million characters

# Workers belong to the database they work on, and rebuilds write the search rows again. The head follows from
# the last row.
_NOT_MOVED = {AuditChain.__tablename__, WorkerRow.__tablename__, VectorRow.__tablename__, KeywordRow.__tablename__}
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
    """Copies of the models' tables, referenced ones first, whose JSON columns write None as SQL NULL."""
    metadata = MetaData()
    for table in Base.metadata.sorted_tables:
        for column in table.to_metadata(metadata).columns:
            if isinstance(column.type, JSON):
                column.type = JSON(none_as_null=True)
    return [table for table in metadata.sorted_tables if table.name not in _NOT_MOVED]


TABLES = _tables()
_MARKER = Table(
    "unfinished_move", MetaData(), Column("part", String, primary_key=True), Column("told", Text, key="state")
)
_SOURCE = " source"  # with a space, so that no table has this name


@dataclass(frozen=True)
class MovingService:
    """The steps begin, copy, compare, finish. After an interruption another process may repeat them from the start."""

    source: Database
    target: Database
    queue: JobQueue
    batch_rows: int

    def begin(self) -> int:
        """Mark the target, or resume the same move. Returns how many rows there are to copy in all.

        Raises Conflict if the source is in use or has changed, and if the target is not empty or another move's.
        """
        if identity(self.source) == identity(self.target):
            raise Conflict(f"Source and target are the same database: {identity(self.source)}.")
        _require_schema(self.source)
        self._require_idle()
        fingerprint, rows = self._fingerprint()
        if current_revision(self.target) != MOVING:
            with self.target.read() as session:
                _require_empty(session.connection())
            bring_up_to_date(self.target)
            with self.target.migrating() as connection:
                _mark(connection, {"source": identity(self.source), "fingerprint": fingerprint})
        state = self._state(_SOURCE)
        if state["source"] != identity(self.source):
            raise Conflict(
                f"The target holds an unfinished move from another source, {state['source']}: finish that one, "
                "or name an empty database."
            )
        self._require_unchanged()
        return rows

    def copy(self) -> Iterator[int]:
        """Copy the missing rows batch by batch. Yields the number of rows in the target so far."""
        done = sum(self._state(table.name)["rows"] for table in TABLES)
        yield done
        for table in TABLES:
            for count in self._copy_table(table):
                done += count
                yield done
        self._require_unchanged()

    def compare(self, report: Callable[[int], None]) -> list[PartComparison]:
        """Compare every column of every row. Calls *report* with the number of rows read."""
        sides = (ComparisonSide(self.source, _as_moved), ComparisonSide(self.target, _as_moved))
        return compare(*sides, TABLES, report)

    def finish(self, comparisons: Sequence[PartComparison]) -> int:
        """Open the target to the service. Returns how many rebuild jobs were queued for its workers.

        Raises Conflict, and leaves the target marked, if anything differs or the source has changed.
        """
        self._require_unchanged()
        if differing := [part for part in comparisons if not part.is_equal]:
            raise Conflict(
                f"{len(differing)} of {len(comparisons)} parts differ between source and target, which stays closed: "
                "empty the target and move again."
            )
        live = select(Project.live_chunks).where(Project.team_id == IndexRow.team_id, Project.id == IndexRow.project_id)
        with self.target.write() as session:
            session.execute(update(IndexRow).values(changes=func.coalesce(live.scalar_subquery(), 0)))
            session.execute(update(Project).where(Project.live_chunks == 0).values(keywords_seq=Project.seq))
            projects = session.scalars(
                select(Project).where(Project.live_chunks > 0, Project.mirror_of.is_(None))
            ).all()
            for project in projects:
                request_rebuild(self.queue, session, project)
            if self.target.kind is DatabaseKind.POSTGRES:
                finish_postgres(session)
            record(session, "installation.moved", source=identity(self.source))
            _MARKER.drop(session.connection())
            set_revision(session.connection(), HEAD)
        return len(projects)

    def _copy_table(self, table: Table) -> Iterator[int]:
        """Yields the size of each batch after its commit."""
        state = self._state(table.name)
        while rows := self._next_rows(table, state["last"]):
            last = [_encode(rows[-1][column.name]) for column in table.primary_key]
            next_state = {"last": last, "rows": state["rows"] + len(rows)}
            self._store(table, rows, state, next_state=next_state)
            state = next_state
            yield len(rows)

    def _next_rows(self, table: Table, last: list[Any] | None) -> list[Row]:
        """Returns the rows after *last* in the source's own order, which may differ from the target's."""
        key = list(table.primary_key)
        query = select(table).order_by(*key).limit(self.batch_rows)
        if last is not None:
            values = (literal(_decode(value, column), column.type) for value, column in zip(last, key, strict=True))
            query = query.where(tuple_(*key) > tuple_(*values))
        rows: list[Row] = []
        size = 0
        with self.source.read() as session, session.execute(query, execution_options=_STREAMED) as records:
            for record in records:
                row = _as_moved(table, record._asdict())
                rows.append(row)
                size += sum(len(value) for value in row.values() if isinstance(value, str | bytes))
                if size > BYTES_PER_BATCH:
                    break
        return rows

    def _store(self, table: Table, rows: list[Row], state: Any, *, next_state: Any) -> None:
        self.target.refuse_when_nearly_full()
        is_current = and_(_MARKER.c.part == table.name, _MARKER.c.state == json.dumps(state))
        try:
            with self.target.write() as session:
                result = session.execute(update(_MARKER).where(is_current).values(state=json.dumps(next_state)))
                assert isinstance(result, CursorResult)
                if result.rowcount == 0:
                    raise Conflict("Another move to the same target is running: let that one end.")
                session.execute(insert(table), rows)
        except Unstorable as error:
            raise self._unstorable(table, rows) from error

    def _unstorable(self, table: Table, rows: list[Row]) -> ServiceError:
        """Returns an error that names the row the target cannot store. Tries each row, and rolls it back."""
        for row in rows:
            try:
                with self.target.read() as session:
                    session.execute(insert(table), [row])
            except Unstorable as error:
                key = ", ".join(f"{column.name}={_encode(row[column.name])!r}" for column in table.primary_key)
                return Invalid(
                    f"The target cannot hold this row of {table.name}: {key} ({error.reason}). Correct it in the "
                    "source, empty the target and move again."
                )
        return Invalid(f"The target cannot hold the rows of {table.name}.")

    def _require_idle(self) -> None:
        is_running = and_(Job.status == JobStatus.RUNNING, Job.lease_until >= epoch_now())
        with self.source.read() as session:
            running = session.scalar(select(func.count()).select_from(Job).where(is_running))
        if running:
            raise Conflict(
                f"{running} jobs run in the source. {_STOP} A dead worker's jobs are free when their leases expire."
            )

    def _require_unchanged(self) -> None:
        self._require_idle()
        if self._fingerprint()[0] != self._state(_SOURCE)["fingerprint"]:
            raise Conflict(f"The source has changed since the move began. {_STOP} Empty the target and move again.")

    def _fingerprint(self) -> tuple[str, int]:
        """Returns a hash that any accepted change alters, and the number of rows."""
        with self.source.read() as session:
            numbers = select(Project.team_id, Project.id, Project.seq, Project.next_faiss_id, Project.embedding_version)
            projects = session.execute(numbers.order_by(Project.team_id, Project.id)).all()
            latest = [session.scalar(select(func.max(column))) for column in (Doc.updated_at, Job.updated_at)]
            counts = {table.name: session.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES}
        content = json.dumps([HEAD, [list(row) for row in projects], [str(time) for time in latest], counts])
        return hashlib.sha256(content.encode()).hexdigest(), sum(counts.values())

    def _state(self, part: str) -> Any:
        with self.target.read() as session:
            return json.loads(session.execute(select(_MARKER.c.state).where(_MARKER.c.part == part)).scalar_one())


def identity(database: Database) -> str:
    """Returns what identifies the database, without user and password. A host with two names counts as two."""
    if database.file is not None:
        return f"sqlite {database.file.resolve()}"
    url = database.engine.url
    host = url.host or url.query.get("host") or "localhost"
    return f"postgresql {host}:{url.port or 5432}/{url.database}"


def _require_schema(database: Database) -> None:
    revision = current_revision(database)
    if revision == MOVING:
        raise Conflict("The source is itself the target of an unfinished move: finish that one first.")
    if revision != HEAD:
        problem = f"The source has schema {revision or 'none'}, and this code has {HEAD}"
        raise Conflict(f"{problem}: bring it up to date with manage.py migrate first.")


def _require_empty(connection: Connection) -> None:
    existing = set(inspect(connection).get_table_names())
    ours = [table for table in Base.metadata.sorted_tables if table.name in existing]
    filled = [table.name for table in ours if connection.execute(select(literal(1)).select_from(table)).first()]
    if filled:
        raise Conflict(
            f"The target is not empty: it has rows in {', '.join(filled)}. A move never adds to existing rows: "
            "name an empty database."
        )


def _mark(connection: Connection, source: Mapping[str, str]) -> None:
    """Create the marker in one transaction under the migrations' lock, so that no other move comes in between."""
    if inspect(connection).has_table(_MARKER.name):
        raise Conflict("Another move to the same target has just begun: let that one end.")
    _require_empty(connection)
    _MARKER.create(connection)
    initial_state = json.dumps({"last": None, "rows": 0})
    states = [{"part": table.name, "state": initial_state} for table in TABLES]
    connection.execute(insert(_MARKER), [{"part": _SOURCE, "state": json.dumps(source)}, *states])
    set_revision(connection, MOVING)


def finish_postgres(session: Session) -> None:
    """Let sequences continue after the largest copied value, and update the planner's statistics."""
    for table in TABLES:
        if (column := _counted_by_sequence(table)) is not None:
            largest = select(func.max(column)).scalar_subquery()
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            session.execute(select(func.setval(sequence, func.coalesce(largest, 1), largest.is_not(None))))
    session.execute(text(f"ANALYZE {', '.join(table.name for table in TABLES)}"))


def _counted_by_sequence(table: Table) -> Column[Any] | None:
    return table.columns["number"] if table.name == EventRow.__tablename__ else table.autoincrement_column


def _as_moved(table: Table, row: Row) -> Row:
    """Returns the row as it is written: *indices* name no file, and keywords count as outdated."""
    resets = {IndexRow.__tablename__: _NO_CHECKPOINT, Project.__tablename__: _NO_KEYWORDS}
    return {**row, **resets.get(table.name, {})}


def _encode(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _decode(value: Any, column: Column[Any]) -> Any:
    return bytes.fromhex(value) if isinstance(column.type, LargeBinary) else value
