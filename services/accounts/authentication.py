"""Who shows which API key, and when each was used last.

A key that was looked up is trusted for some seconds without asking the database: so long, at the most, does one that
another process revoked, or replaced with a shorter overlap, go on to be taken. In the process that does it, it ends at
once. The end that the database gave with the key counts to the second, trusted or not.
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
from services.accounts.api_keys import hash_of, id_of, scopes_of, status_of

log = logging.getLogger(__name__)

USE_WRITTEN_SECONDS = 60.0
WRONG = "This API key is not one that this service gave out: check that it was copied whole."


@dataclass(frozen=True, slots=True)
class Known:
    """A key as the database had it, at *seen_at* of the monotonic clock."""

    key_hash: bytes
    principal: Principal
    expires_at: datetime | None
    seen_at: float


class Authenticator:
    """Made by running(). Safe from any thread; known() never waits and may be asked from the event loop."""

    def __init__(self, database: Database, *, trust_seconds: float, now: Callable[[], datetime] = utc_now) -> None:
        self.database = database
        self.trust_seconds = trust_seconds
        self.now = now
        self._known: dict[str, Known] = {}
        self._forgotten = 0
        self._used: dict[tuple[int, str], datetime] = {}
        self._using = Lock()
        self._is_over = Event()

    @classmethod
    @contextmanager
    def running(cls, database: Database, *, trust_seconds: float) -> Iterator[Authenticator]:
        """A thread writes down once a minute, and at the end, which keys were used."""
        authenticator = cls(database, trust_seconds=trust_seconds)
        thread = Thread(target=authenticator._write_uses, name="key-uses", daemon=True)
        thread.start()
        try:
            yield authenticator
        finally:
            authenticator._is_over.set()
            thread.join()

    def known(self, key: str) -> Principal | None:
        """Whose key it is, as far as that can be told without the database; None: look_up() has to be asked."""
        known = self._known.get(id_of(key) or "")
        now = self.now()
        if known is None or time.monotonic() - known.seen_at > self.trust_seconds:
            return None
        if not hmac.compare_digest(known.key_hash, hash_of(key)) or (known.expires_at and known.expires_at <= now):
            return None
        self._note_use(known.principal, now)
        return known.principal

    def look_up(self, key: str) -> Principal:
        """Whose key it is, by the database. Raises Unauthenticated."""
        key_id = id_of(key)
        if key_id is None:
            raise Unauthenticated("This is no API key: they begin with adf_ and have 85 characters.")
        seen_at, forgotten = time.monotonic(), self._forgotten
        with self.database.read() as session:
            query = select(ApiKey, Team.name).join(Team, Team.id == ApiKey.team_id).where(ApiKey.id == key_id)
            row, team_name = session.execute(query).one_or_none() or (None, "")
        if row is None or not hmac.compare_digest(row.key_hash, hash_of(key)):
            raise Unauthenticated(WRONG)
        now = self.now()
        if (status := status_of(row, now)) != "active":
            self.forget(key_id)
            raise Unauthenticated(f"This API key ({key_id}) is {status}: ask your team's admin for another.")
        principal = Principal(scopes_of(row), team_name, row.team_id, key_id)
        if forgotten == self._forgotten:  # else what was read may have been revoked since
            self._known[key_id] = Known(row.key_hash, principal, row.expires_at, seen_at)
        self._note_use(principal, now)
        return principal

    def forget(self, key_id: str) -> None:
        """Ask the database when this key is shown the next time."""
        self._forgotten += 1
        self._known.pop(key_id, None)

    def write_uses(self) -> None:
        """Write down when each key was used last. What cannot be written now is kept for the next time."""
        with self._using:
            used, self._used = self._used, {}
        if not used:
            return
        rows = [{"team": team, "key": key, "at": at} for (team, key), at in sorted(used.items())]
        try:
            with self.database.write() as session:
                session.connection().execute(_USED, rows)
        except Exception as error:  # whatever it was, the thread has to live on
            log.error("could not write down which keys were used: %s", error)
            with self._using:
                self._used = used | self._used

    def _note_use(self, principal: Principal, now: datetime) -> None:
        if principal.team_id is not None and principal.key_id is not None:
            with self._using:
                self._used[principal.team_id, principal.key_id] = now

    def _write_uses(self) -> None:
        while not self._is_over.wait(USE_WRITTEN_SECONDS):
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
