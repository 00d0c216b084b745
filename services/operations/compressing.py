"""Compresses the texts that an older version, or a process with TEXT_COMPRESSION=off, has stored plain.

It walks through all revisions once in the life of a process, in steps that are short for other writers. Whoever walks
again, after a kill or beside another worker, only reads where a text is compressed already.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, case, cast, func, literal, select, tuple_, update

from compression import MAGIC, MIN_BYTES, Compression
from database.engine import Database, DatabaseKind
from models import Revision

KEYS_PER_READ = 1000
ROWS_PER_STEP = 32
BYTES_PER_STEP = 1 << 20
_KEY = (Revision.team_id, Revision.project_id, Revision.doc_id, Revision.revision)

RevisionKey = tuple[int, int, str, int]


@dataclass(frozen=True, slots=True)
class _PlainText:
    key: RevisionKey
    size: int


class CompressingService:
    def __init__(self, database: Database, compression: Compression) -> None:
        self.database, self.compression = database, compression
        self._after: RevisionKey | None = None
        self._is_done = not compression.is_on

    def run(self) -> int:
        """Walk on to the end, resting after a step for as long as it took. Returns how many texts were compressed."""
        count = 0
        while not self._is_done:
            for step in _steps(self._next_page()):
                started = time.monotonic()
                count += self._compress(step)
                time.sleep(time.monotonic() - started)
        return count

    def _next_page(self) -> list[_PlainText]:
        """The plain texts among the next revisions."""
        query = select(*_KEY, _plain_bytes(self.database.kind)).order_by(*_KEY).limit(KEYS_PER_READ)
        if self._after is not None:
            query = query.where(tuple_(*_KEY) > tuple_(*map(literal, self._after)))
        with self.database.read() as session:
            rows = session.execute(query).all()
        self._is_done = len(rows) < KEYS_PER_READ
        texts = [
            _PlainText((team_id, project_id, doc_id, number), size)
            for team_id, project_id, doc_id, number, size in rows
        ]
        if texts:
            self._after = texts[-1].key
        return [text for text in texts if text.size >= MIN_BYTES]

    def _compress(self, step: Sequence[_PlainText]) -> int:
        """Between reading and writing a text may have gone, or have been erased: then it is not written."""
        with self.database.read() as session:
            texts = [session.scalar(select(Revision.text).where(*_is(plain.key))) for plain in step]
        changes = [
            update(Revision).where(*_is(plain.key), Revision.text == str(text)).values(text=compressed)
            for plain, text in zip(step, texts, strict=True)
            if text is not None and (compressed := self.compression.text(text)) is not text
        ]
        if changes:
            self.database.refuse_when_nearly_full()
            with self.database.write() as session:
                for change in changes:
                    session.execute(change, execution_options={"synchronize_session": False})
        return len(changes)


def _steps(texts: Sequence[_PlainText]) -> Iterator[list[_PlainText]]:
    """A large text is a step alone."""
    step: list[_PlainText] = []
    for text in texts:
        if step and (len(step) == ROWS_PER_STEP or sum(each.size for each in step) + text.size > BYTES_PER_STEP):
            yield step
            step = []
        step.append(text)
    if step:
        yield step


def _plain_bytes(kind: DatabaseKind) -> ColumnElement[int]:
    """The size of a text that is not compressed, otherwise 0. SQLite reads no compressed text for it."""
    if kind is DatabaseKind.SQLITE:
        is_plain: ColumnElement[bool] = func.typeof(Revision.text) == "text"
    else:
        is_plain = func.substr(Revision.text, 1, len(MAGIC)) != literal(MAGIC, LargeBinary)
    return case((is_plain, func.length(cast(Revision.text, LargeBinary))), else_=0)


def _is(key: RevisionKey) -> list[Any]:
    return [column == value for column, value in zip(_KEY, key, strict=True)]
