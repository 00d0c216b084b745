"""Implements Idempotency-Key: a repeated request gets the first one's response."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, delete, update

from compression import Compression, plain
from database.dialects import insert_or_ignore
from database.engine import Database
from database.repeating import repeatable
from errors import Conflict, Invalid
from models import IdempotencyKey, utc_now

ERASED = 0
"""The status of an answer that was erased with what it was about. Its key stays, lest a repetition does it again."""

RETENTION = timedelta(days=1)
UNFINISHED_RETENTION = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class StoredResponse:
    status_code: int
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class IdempotencyService:
    database: Database
    compression: Compression

    @repeatable
    def begin(self, key: str, request_hash: str, *, tenant_id: str | None) -> StoredResponse | None:
        """Returns the stored response, or None if the key is new and now belongs to this request.

        Raises Invalid if the key belongs to another request, Conflict while the first request is still running.
        """
        with self.database.write() as session:
            is_abandoned = IdempotencyKey.status_code.is_(None) & (
                IdempotencyKey.created_at < utc_now() - UNFINISHED_RETENTION
            )
            session.execute(delete(IdempotencyKey).where(IdempotencyKey.key == key, is_abandoned))
            created = insert_or_ignore(session, IdempotencyKey).values(
                key=key, request_hash=request_hash, tenant_id=tenant_id
            )
            if session.scalar(created.returning(IdempotencyKey.key)) is not None:
                return None
            row = session.get(IdempotencyKey, key)
            body = None if row is None or row.response_body is None else plain(row.response_body)
        if row is not None and row.request_hash != request_hash:
            raise Invalid("This Idempotency-Key was used for another request: use a new one.", param="Idempotency-Key")
        if row is None or row.status_code is None or body is None:
            raise Conflict("The first request with this Idempotency-Key is still running: try again in a moment.")
        if row.status_code == ERASED:
            raise Conflict("This request was completed before; what it was about has been erased since.")
        return StoredResponse(row.status_code, body, json.loads(row.response_headers or "{}"))

    @repeatable
    def store(self, key: str, request_hash: str, response: StoredResponse) -> None:
        values = {
            "status_code": response.status_code,
            "response_body": self.compression.data(response.body),
            "response_headers": json.dumps(response.headers),
        }
        with self.database.write() as session:
            session.execute(update(IdempotencyKey).where(_unanswered(key, request_hash)).values(**values))

    @repeatable
    def release(self, key: str, request_hash: str) -> None:
        """Free the key after a failed request, so that it can be retried."""
        with self.database.write() as session:
            session.execute(delete(IdempotencyKey).where(_unanswered(key, request_hash)))

    def prune(self) -> None:
        with self.database.write() as session:
            session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < utc_now() - RETENTION))


def _unanswered(key: str, request_hash: str) -> ColumnElement[bool]:
    is_same_request = and_(IdempotencyKey.key == key, IdempotencyKey.request_hash == request_hash)
    return is_same_request & IdempotencyKey.status_code.is_(None)
