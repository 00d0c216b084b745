"""Derives keys: an admin from any key of the team, everybody else from their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from database.engine import Database
from domain import Json, Principal, Scope
from errors import Conflict, Forbidden, Invalid
from models import ApiKey, utc_now
from services.accounts.api_keys import no_such_key, principal_of_row, require_key, status_of
from services.accounts.derived_keys import MAX_CHARS, MAX_SECONDS, SCOPES, Claims, KeySigner
from services.accounts.restricting import READS, check_restriction, check_scopes
from services.index.namespaces import require
from text.restriction import Restriction, restriction_of
from times import shifted


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """What a derived key may do, for *seconds*. What is None is as the key that it comes from has it."""

    seconds: float
    scopes: Sequence[Scope] | None = None
    filters: Json | None = None
    namespaces: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedKey:
    """*key_id* is that of the key that it comes from. *filters* and *namespaces* are what it adds to its limits."""

    key_id: str
    key: str
    scopes: list[str]
    filters: Json | None
    namespaces: list[str] | None
    expires_at: datetime


@dataclass(frozen=True)
class DerivingService:
    """*now* is the clock."""

    database: Database
    signer: KeySigner
    now: Callable[[], datetime] = utc_now

    def derive(self, team_name: str, key_id: str, narrowing: Narrowing, *, by: Principal) -> DerivedKey:
        """Sign a key that may less than key *key_id*, and ends with it. Stores nothing.

        Raises NotFound unless *by* may see that key, Forbidden for more than that key may.
        """
        own = check_restriction(narrowing.filters, narrowing.namespaces)
        if not 1 <= narrowing.seconds <= MAX_SECONDS:
            message = f"A derived key lives for 1 to {MAX_SECONDS} seconds, not {narrowing.seconds:g}."
            raise Invalid(message, param="expires_in_seconds")
        row, parent = self._parent(team_name, key_id, narrowing, by)
        if not self.signer.secret:
            raise Conflict("This service derives no keys: its operator has to set DERIVED_KEY_SECRET.")
        scopes = _scopes(parent, narrowing.scopes, own or restriction_of(parent))
        ends_at = shifted(self.now(), seconds=narrowing.seconds)
        ends_at = min(ends_at, row.expires_at or ends_at).replace(microsecond=0)
        names = None if narrowing.namespaces is None else sorted(set(narrowing.namespaces))
        claims = Claims(scopes=scopes, ends_at=ends_at, filters=narrowing.filters or None, namespaces=names)
        key = self.signer.sign(key_id, claims)
        _check_length(key)
        return DerivedKey(
            key_id=key_id, key=key, scopes=sorted(scopes), filters=claims.filters, namespaces=names, expires_at=ends_at
        )

    def _parent(self, team_name: str, key_id: str, narrowing: Narrowing, by: Principal) -> tuple[ApiKey, Principal]:
        """The key to derive from, and its caller."""
        with self.database.read() as session:
            row = require_key(session, team_name, key_id)
            if by.key_id != key_id and not by.may(Scope.ADMIN):
                raise no_such_key(key_id)
            if (status := status_of(row, self.now())) != "active":
                raise Conflict(f"Key {key_id} is {status}: no key can be derived from it.", param="key_id")
            parent = principal_of_row(row, team_name)
            for namespace in narrowing.namespaces or ():
                require(session, team_name, namespace, restriction_of(parent))
        return row, parent


def _scopes(parent: Principal, chosen: Iterable[Scope] | None, restriction: Restriction | None) -> frozenset[Scope]:
    """Those *chosen*, or all that a derived key can have of its parent's."""
    possible = parent.scopes & SCOPES
    if chosen is None:
        scopes = possible if restriction is None else possible & READS
    else:
        scopes = frozenset(chosen)
        if more := sorted(scopes - possible):
            raise Forbidden(f"A key derived from this one cannot have the scope {', '.join(more)}.", param="scopes")
    check_scopes(scopes, restriction)
    if not scopes:
        raise Invalid("The key that it would come from may not search, and with limits it could do nothing else.")
    return scopes


def _check_length(key: str) -> None:
    if len(key) > MAX_CHARS:
        raise Invalid(
            f"The derived key would have {len(key)} characters; at most {MAX_CHARS} are accepted. Give it a shorter "
            "filter, for instance on a group in place of its members.",
            param="filters",
        )
