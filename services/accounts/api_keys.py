"""Issues, lists, rotates and revokes the API keys of teams. A key is shown once; only its hash is stored.

adf_<id>_<secret>: a 64-bit random id that names the key in lists, URLs and logs, and a 256-bit random secret.
derived_keys.py has the form of keys that are derived from one.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from database.engine import Database
from domain import Json, Principal, Scope, with_included
from errors import Conflict, Forbidden, Invalid, NotFound
from models import ApiKey, Team, utc_now
from services.accounts.restricting import check_restriction, check_scopes, principal_of, restriction_from
from services.index.auditing import record
from services.index.names import check_line
from services.index.namespaces import require, require_team
from times import shifted, storable

PREFIX = "adf_"
MAX_NAME_CHARS = 255
_ID = re.compile("[0-9a-f]{16}")
_KEY = re.compile(rf"{PREFIX}({_ID.pattern})(?:_[0-9a-f]{{64}}|\.[\w-]+\.[\w-]+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """*status* is active, expired or revoked. *filters* and *namespaces* say what the key sees; None: everything."""

    key_id: str
    name: str
    scopes: list[str]
    filters: Json | None
    namespaces: list[str] | None
    status: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey(KeyInfo):
    """*key* is the whole key, which cannot be recovered later."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedKey(NewKey):
    """*replaces* is the old key, which ends after the overlap."""

    replaces: KeyInfo


@dataclass(frozen=True)
class KeyService:
    """*forget* is called with each key id whose cached copy is outdated. *now* is the clock."""

    database: Database
    forget: Callable[[str], None]
    now: Callable[[], datetime] = utc_now

    def issue(
        self,
        team_name: str,
        *,
        name: str,
        scopes: Iterable[Scope],
        expires_at: datetime | None,
        by: Principal,
        filters: Json | None = None,
        namespaces: Sequence[str] | None = None,
    ) -> NewKey:
        """Raises Forbidden if *by* lacks a scope of the key: nobody can grant more rights than they have.

        With *filters* or *namespaces* the key sees a part of the team's documents, and only reads: raises Invalid for
        other scopes, NotFound for a namespace that does not exist.
        """
        check_line("name", name)
        if len(name) > MAX_NAME_CHARS:
            raise Invalid(f"The name has {len(name)} characters; at most {MAX_NAME_CHARS} are accepted.", param="name")
        granted = sorted(set(scopes))
        _require_scopes(by, granted)
        if not granted:
            raise Invalid("A key without a scope is of no use: give it one.", param="scopes")
        check_scopes(granted, check_restriction(filters, namespaces))
        ends_at = self._end(expires_at) if expires_at is not None else None
        limits: Json = {"filters": filters or None, "namespaces": namespaces and sorted(set(namespaces))}
        with self.database.write() as session:
            team = require_team(session, team_name)
            for namespace in limits["namespaces"] or ():
                require(session, team_name, namespace)
            values = {"name": name, "scopes": " ".join(granted), "expires_at": ends_at, **limits}
            row, key = self._create(session, team.id, values)
            _record(session, "key.created", team_name, row)
        return NewKey(**_fields(row, self.now()), key=key)

    def rotate(self, team_name: str, key_id: str, *, overlap_seconds: float, by: Principal) -> RotatedKey:
        """Issue a key like this one, and let this one expire after the overlap.

        The new key has the same lifetime, counted from now.
        """
        if not overlap_seconds >= 0:
            raise Invalid("The overlap must be a number of seconds that is not negative.", param="overlap_seconds")
        now = self.now()
        ends_at = shifted(now, seconds=overlap_seconds)
        with self.database.write() as session:
            old = require_key(session, team_name, key_id)
            _require_scopes(by, scopes_of(old))
            if status_of(old, now) != "active":
                raise Conflict(f"Key {key_id} is {status_of(old, now)}: make a new one.", param="key_id")
            lifetime = old.expires_at - old.created_at if old.expires_at else None
            expires_at = shifted(now, seconds=lifetime.total_seconds()) if lifetime is not None else None
            kept = {each: getattr(old, each) for each in ("name", "scopes", "filters", "namespaces")}
            row, key = self._create(session, old.team_id, {**kept, "expires_at": expires_at})
            old.expires_at = min(ends_at, old.expires_at or ends_at)
            _record(session, "key.rotated", team_name, row, replaces=key_id)
        self.forget(key_id)
        return RotatedKey(**_fields(row, now), key=key, replaces=KeyInfo(**_fields(old, now)))

    def revoke(self, team_name: str, key_id: str, *, by: Principal) -> KeyInfo:
        """Revoke the key. Revoking it again changes nothing."""
        with self.database.write() as session:
            row = require_key(session, team_name, key_id)
            _require_scopes(by, scopes_of(row))
            if row.revoked_at is None:
                row.revoked_at = self.now()
                _record(session, "key.revoked", team_name, row)
        self.forget(key_id)
        return KeyInfo(**_fields(row, self.now()))

    def page(self, team_name: str, *, limit: int, after: str | None = None) -> list[KeyInfo]:
        """Returns at most *limit* of the team's keys by id, ended ones included, starting after *after*."""
        with self.database.read() as session:
            team = require_team(session, team_name)
            query = select(ApiKey).where(ApiKey.team_id == team.id, ApiKey.id > (after or ""))
            rows = list(session.scalars(query.order_by(ApiKey.id).limit(limit)))
        now = self.now()
        return [KeyInfo(**_fields(row, now)) for row in rows]

    def team_of(self, key_id: str) -> str:
        """Returns the name of the key's team, for operators, who see only the key's id."""
        with self.database.read() as session:
            team_name = session.scalar(select(Team.name).join(ApiKey).where(ApiKey.id == key_id))
        if team_name is None:
            raise no_such_key(key_id)
        return team_name

    def has_admin_key(self) -> bool:
        """Returns whether there is an active key that can issue keys."""
        is_active = ApiKey.revoked_at.is_(None) & or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > self.now())
        is_admin = or_(*(ApiKey.scopes.contains(scope) for scope in (Scope.ADMIN, Scope.OPERATOR)))
        with self.database.read() as session:
            return session.scalar(select(ApiKey.id).where(is_active, is_admin).limit(1)) is not None

    def _end(self, expires_at: datetime) -> datetime:
        try:
            ends_at = storable(expires_at)
        except ValueError as error:
            raise Invalid(f"expires_at: {error}.", param="expires_at") from error
        if ends_at <= self.now():
            raise Invalid("expires_at has passed already.", param="expires_at")
        return ends_at

    def _create(self, session: Session, team_id: int, values: Json) -> tuple[ApiKey, str]:
        key_id = secrets.token_hex(8)
        key = f"{PREFIX}{key_id}_{secrets.token_hex(32)}"
        row = ApiKey(team_id=team_id, id=key_id, key_hash=hash_of(key), created_at=self.now(), **values)
        session.add(row)
        return row, key


def id_of(key: str) -> str | None:
    """Returns the public part of a key; None if it does not have the form of a key."""
    match = _KEY.fullmatch(key)
    return match[1] if match else None


def hash_of(key: str) -> bytes:
    """A fast hash suffices for 256 random bits: there is no dictionary to try."""
    return hashlib.sha256(key.encode()).digest()


def scopes_of(row: ApiKey) -> frozenset[Scope]:
    return with_included(map(Scope, row.scopes.split()))


def status_of(row: ApiKey, now: datetime) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "active"


def principal_of_row(row: ApiKey, team_name: str) -> Principal:
    """The caller of the key. Raises Invalid if its filter is none."""
    restriction = restriction_from(row.filters, row.namespaces)
    return principal_of(scopes_of(row), (team_name, row.team_id), row.id, restriction)


def _fields(row: ApiKey, now: datetime) -> dict[str, Any]:
    return {
        "key_id": row.id,
        "name": row.name,
        "scopes": row.scopes.split(),
        "filters": row.filters,
        "namespaces": row.namespaces,
        "status": status_of(row, now),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "last_used_at": row.last_used_at,
    }


def _record(session: Session, action: str, team_name: str, row: ApiKey, **details: str) -> None:
    """What a key with a restriction sees is in its row, which stays, and not here: an erasure can reach it there."""
    ends_at = row.expires_at.isoformat() if row.expires_at else None
    described: Json = {"name": row.name, "scopes": row.scopes.split(), "expires_at": ends_at, **details}
    if row.filters is not None or row.namespaces is not None:
        described["is_restricted"] = True
    record(session, action, tenant_id=team_name, object=row.id, **described)


def require_key(session: Session, team_name: str, key_id: str) -> ApiKey:
    team = require_team(session, team_name)
    row = session.get(ApiKey, (team.id, key_id)) if _ID.fullmatch(key_id) else None
    if row is None:
        raise no_such_key(key_id)
    return row


def _require_scopes(by: Principal, scopes: Iterable[Scope]) -> None:
    if lacking := sorted(set(scopes) - by.scopes):
        raise Forbidden(f"This takes a key that itself has the scope {', '.join(lacking)}.", param="scopes")


def no_such_key(key_id: str) -> NotFound:
    return NotFound(f"There is no key {key_id!r} in this team.", param="key_id")
