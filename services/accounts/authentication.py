"""Authenticates API keys, and records when each was last used.

A key is cached for some seconds after a lookup: for at most that long a key that another process revoked, or rotated
with a shorter overlap, is still accepted. The process that revokes it stops accepting it at once. The expiry time is
checked to the second, cached or not.

A derived key costs no further query: it counts as long as the key that it comes from, whose row or cached copy is read.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Lock, Thread

from sqlalchemy import bindparam, or_, select, update

from database.engine import Database
from domain import Principal
from errors import Unauthenticated
from models import ApiKey, Team, utc_now
from services.accounts.api_keys import hash_of, id_of, principal_of_row, status_of
from services.accounts.derived_keys import KeySigner, is_derived

log = logging.getLogger(__name__)

USE_FLUSH_SECONDS = 60.0
UNKNOWN_KEY = "This service issued no such API key: check that it was copied whole."


@dataclass(frozen=True, slots=True)
class CachedKey:
    """A key as the database had it at *read_at* of the monotonic clock."""

    key_hash: bytes
    principal: Principal
    expires_at: datetime | None
    read_at: float


class Authenticator:
    """Opened by running(). Thread-safe; cached() never blocks, so the event loop may call it."""

    def __init__(
        self,
        database: Database,
        *,
        trust_seconds: float,
        signer: KeySigner | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.database = database
        self.trust_seconds = trust_seconds
        self.signer = signer or KeySigner()
        self.now = now
        self._cache: dict[str, CachedKey] = {}
        self._forget_count = 0
        self._used: dict[tuple[int, str], datetime] = {}
        self._using = Lock()
        self._is_stopping = Event()

    @classmethod
    @contextmanager
    def running(
        cls, database: Database, *, trust_seconds: float, signer: KeySigner | None = None
    ) -> Iterator[Authenticator]:
        """Runs a thread that stores the uses of keys once a minute and at the end."""
        authenticator = cls(database, trust_seconds=trust_seconds, signer=signer)
        thread = Thread(target=authenticator._write_uses, name="key-uses", daemon=True)
        thread.start()
        try:
            yield authenticator
        finally:
            authenticator._is_stopping.set()
            thread.join()

    def cached(self, key: str) -> Principal | None:
        """Returns the key's principal from the cache; None if look_up() has to be called."""
        cached = self._cache.get(id_of(key) or "")
        now = self.now()
        if cached is None or time.monotonic() - cached.read_at > self.trust_seconds:
            return None
        if cached.expires_at and cached.expires_at <= now:
            return None
        principal = self._caller(key, cached, now)
        if principal is not None:
            self._note_use(principal, now)
        return principal

    def look_up(self, key: str) -> Principal:
        """Returns the key's principal from the database. Raises Unauthenticated."""
        key_id = id_of(key)
        if key_id is None:
            raise Unauthenticated("This is no API key: they begin with adf_ and have 85 characters, unless derived.")
        read_at, forget_count = time.monotonic(), self._forget_count
        with self.database.read() as session:
            query = select(ApiKey, Team.name).join(Team, Team.id == ApiKey.team_id).where(ApiKey.id == key_id)
            row, team_name = session.execute(query).one_or_none() or (None, "")
        if row is None:
            raise Unauthenticated(UNKNOWN_KEY)
        now, known = self.now(), CachedKey(row.key_hash, principal_of_row(row, team_name), row.expires_at, read_at)
        principal = self._caller(key, known, now)
        if principal is None:
            raise Unauthenticated(UNKNOWN_KEY)
        if (status := status_of(row, now)) != "active":
            self.forget(key_id)
            raise Unauthenticated(f"This API key ({key_id}) is {status}: ask your team's admin for another.")
        if forget_count == self._forget_count:  # else the key may have been revoked since it was read
            self._cache[key_id] = known
        self._note_use(principal, now)
        return principal

    def forget(self, key_id: str) -> None:
        """Drop the key from the cache, so that its next use is looked up."""
        self._forget_count += 1
        self._cache.pop(key_id, None)

    def write_uses(self) -> None:
        """Store when each key was last used. What cannot be stored now is retried the next time."""
        with self._using:
            used, self._used = self._used, {}
        if not used:
            return
        rows = [{"team": team, "key": key, "at": at} for (team, key), at in sorted(used.items())]
        try:
            with self.database.write() as session:
                session.connection().execute(_USED, rows)
        except Exception as error:  # the thread must survive any error
            log.error("could not store the uses of keys: %s", error)
            with self._using:
                self._used = used | self._used

    def _caller(self, key: str, known: CachedKey, now: datetime) -> Principal | None:
        """The caller of a key that names the *known* one; None if it is neither that one nor derived from it."""
        if is_derived(key):
            return self.signer.principal(key, known.principal, now)
        return known.principal if hmac.compare_digest(known.key_hash, hash_of(key)) else None

    def _note_use(self, principal: Principal, now: datetime) -> None:
        if principal.team_id is not None and principal.key_id is not None:
            with self._using:
                self._used[principal.team_id, principal.key_id] = now

    def _write_uses(self) -> None:
        while not self._is_stopping.wait(USE_FLUSH_SECONDS):
            self.write_uses()
        self.write_uses()


_USED = (
    update(ApiKey)
    .where(
        ApiKey.team_id == bindparam("team"),
        ApiKey.id == bindparam("key"),
        or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < bindparam("at")),
    )
    .values(last_used_at=bindparam("at"))
)
