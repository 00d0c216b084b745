"""The same request twice, the same answer twice: what Idempotency-Key promises."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, delete, update

from database.dialects import insert_or_ignore
from database.engine import Database
from database.repeating import repeatable
from errors import Conflict, Invalid
from models import IdempotencyKey, utc_now

KEPT = timedelta(days=1)
UNFINISHED_KEPT = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    status_code: int
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class IdempotencyService:
    database: Database

    @repeatable
    def begin(self, key: str, request_hash: str) -> GivenAnswer | None:
        """The answer that was given before, or None: then the key is this request's.

        Raises Invalid when the key belongs to another request, Conflict while the first one is still at work.
        """
        with self.database.write() as session:
            is_left_over = IdempotencyKey.status_code.is_(None) & (
                IdempotencyKey.created_at < utc_now() - UNFINISHED_KEPT
            )
            session.execute(delete(IdempotencyKey).where(IdempotencyKey.key == key, is_left_over))
            created = insert_or_ignore(session, IdempotencyKey).values(key=key, request_hash=request_hash)
            if session.scalar(created.returning(IdempotencyKey.key)) is not None:
                return None
            row = session.get(IdempotencyKey, key)
        if row is not None and row.request_hash != request_hash:
            raise Invalid("This Idempotency-Key was used for another request: take a new one.", param="Idempotency-Key")
        if row is None or row.status_code is None or row.response_body is None:
            raise Conflict("The first request with this Idempotency-Key is still at work: ask again in a moment.")
        return GivenAnswer(row.status_code, row.response_body, json.loads(row.response_headers or "{}"))

    @repeatable
    def keep(self, key: str, request_hash: str, answer: GivenAnswer) -> None:
        given = {
            "status_code": answer.status_code,
            "response_body": answer.body,
            "response_headers": json.dumps(answer.headers),
        }
        with self.database.write() as session:
            session.execute(update(IdempotencyKey).where(_unanswered(key, request_hash)).values(**given))

    @repeatable
    def release(self, key: str, request_hash: str) -> None:
        """The request failed: the next one with this key is tried afresh."""
        with self.database.write() as session:
            session.execute(delete(IdempotencyKey).where(_unanswered(key, request_hash)))

    def prune(self) -> None:
        with self.database.write() as session:
            session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < utc_now() - KEPT))


def _unanswered(key: str, request_hash: str) -> ColumnElement[bool]:
    same = and_(IdempotencyKey.key == key, IdempotencyKey.request_hash == request_hash)
    return same & IdempotencyKey.status_code.is_(None)
