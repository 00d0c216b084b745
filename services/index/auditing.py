"""Records who changed what, in the transaction of the change: record() is all that a service calls.

Each row has the hash of the one before it and its own, over that and everything that it says. The head of the chain is
locked from record() until the commit, so call it last.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    LargeBinary,
    bindparam,
    func,
    insert,
    literal,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from database.dialects import chained_hash
from database.prepared import PreparedStatement
from domain import Json
from logs import actor, request_id
from models import AuditChain, AuditRow, utc_now

WHAT = ("at", "tenant_id", "actor", "action", "object", "request_id", "details")
_FIRST = literal(b"", LargeBinary())
_HEAD = 1
ERASED = "erased"


def record(session: Session, action: str, *, tenant_id: str | None = None, object: str = "", **details: Any) -> None:
    """Append a row, by one statement. *details* are JSON, without secrets and without the texts of documents.

    *tenant_id*: the team whose admins see it; None: it concerns the installation. *object* names what was changed.
    """
    row = {
        "at": utc_now(),
        "tenant_id": tenant_id,
        "actor": actor.get(),
        "action": action,
        "object": object,
        "request_id": request_id.get(),
        "details": details,
    }
    _APPEND.rows(session, {**row, "digest": digest_of(row)})


def erase_names(row: AuditRow) -> None:
    """Take out of a row what it names. It keeps the hash of what it said, so that the chain can be verified still."""
    said = {name: getattr(row, name) for name in WHAT}
    row.object, row.details = ERASED, {ERASED: digest_of(said).hex()}


def said_digest(row: AuditRow) -> bytes:
    """The hash of what the row says, or said before an erasure."""
    if row.object == ERASED and ERASED in row.details:
        with suppress(ValueError):  # somebody changed it: what it says now has another hash
            return bytes.fromhex(str(row.details[ERASED]))
    return digest_of({name: getattr(row, name) for name in WHAT})


def digest_of(row: Json) -> bytes:
    """The hash of what a row says."""
    said = [row["at"].isoformat(), *(row[name] for name in WHAT[1:])]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


def _appended(dialect_name: str) -> Executable:
    """SQLite has one writer. On Postgres the row of the head makes them wait for each other, and is the newest."""
    head = (_next_on_sqlite() if dialect_name == "sqlite" else _next_on_postgres()).c
    columns = {name: getattr(AuditRow, name) for name in WHAT}
    values = [bindparam(name, type_=column.type) for name, column in columns.items()]
    chain = ["number", "previous_hash", "hash"]
    return insert(AuditRow).from_select([*chain, *columns], select(*(head[name] for name in chain), *values))


def _next_on_sqlite() -> Any:
    return _after_last().subquery()


def _next_on_postgres() -> Any:
    """The head is there after the first row; until then, as after a move, it follows from the last row."""
    row = postgresql.insert(AuditChain).from_select(["number", "previous_hash", "hash", "id"], _after_last())
    chain = AuditChain
    after = {"number": chain.number + 1, "previous_hash": chain.hash, "hash": _hashed(chain.hash)}
    row = row.on_conflict_do_update(index_elements=["id"], set_=after)
    return row.returning(chain.number, chain.previous_hash, chain.hash).cte("head")


def _after_last() -> Any:
    last = select(AuditRow.number, AuditRow.hash).order_by(AuditRow.number.desc()).limit(1).subquery()
    one = select(literal_column("1").label("one")).subquery()
    previous = func.coalesce(last.c.hash, _FIRST)
    number = func.coalesce(last.c.number, 0) + 1
    columns = number.label("number"), previous.label("previous_hash"), _hashed(previous).label("hash")
    return select(*columns, literal_column(str(_HEAD)).label("id")).select_from(one.outerjoin(last, true()))


def _hashed(previous: Any) -> ColumnElement[bytes]:
    return chained_hash(previous, bindparam("digest", type_=LargeBinary()))


_APPEND = PreparedStatement(_appended)
