"""Signs derived keys and reads them again: narrower than the key that they come from, short-lived, stored nowhere.

adf_<id of that key>.<claims>.<signature>, the last two in base64url: claims are JSON, the signature is HMAC-SHA256 over
all that is before it, under a secret that only the service's processes have. A derived key counts only together with
the row of the key that it comes from, whose limits hold as well.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from domain import Json, Principal, Scope
from errors import Invalid
from services.accounts.restricting import principal_of, restriction_from
from text.restriction import Restriction, restriction_of

MAX_SECONDS = 86_400
MAX_CHARS = 4096
SHORTEST_SECRET = 32
KEYS_READ = 1000
SCOPES = frozenset({Scope.SEARCH, Scope.INGEST})
"""What a derived key can be allowed: with more it could make keys that outlive it."""

_DOT = len("adf_") + 16
"""Where a derived key has its first dot, and any other key an underscore."""


def is_derived(key: str) -> bool:
    return key[_DOT : _DOT + 1] == "."


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """*filters* and *namespaces* are as they were sent; None: those of the key that it comes from alone."""

    scopes: frozenset[Scope]
    ends_at: datetime
    filters: Json | None
    namespaces: list[str] | None


@dataclass(frozen=True)
class KeySigner:
    """Without a *secret* no key is derived, and none is accepted. Raises Invalid for one that is too short."""

    secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if 0 < len(self.secret) < SHORTEST_SECRET:
            raise Invalid(
                f"DERIVED_KEY_SECRET has fewer than {SHORTEST_SECRET} characters: set it to what openssl rand -hex 32 "
                "prints."
            )

    def sign(self, key_id: str, claims: Claims) -> str:
        content: Json = {"s": sorted(claims.scopes), "e": int(claims.ends_at.timestamp())}
        if claims.filters:
            content["f"] = claims.filters
        if claims.namespaces is not None:
            content["n"] = claims.namespaces
        encoded = _encoded(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode())
        signed = f"adf_{key_id}.{encoded}"
        return f"{signed}.{self._signature(signed)}"

    def principal(self, key: str, parent: Principal, now: datetime) -> Principal | None:
        """The caller that a derived key stands for, as *parent* is the caller of the key that it names.

        None if it is not one that the service signed, or has expired.
        """
        signed, _, signature = key.rpartition(".")
        if not self.secret or not hmac.compare_digest(signature, self._signature(signed)):
            return None
        scopes, ends_at, own = _claimed(signed.partition(".")[2])
        if ends_at <= now.timestamp():
            return None
        restriction = _both(restriction_of(parent), own)
        scopes = parent.scopes & SCOPES & scopes
        team = parent.tenant_id or "", parent.team_id
        return principal_of(scopes, team, parent.key_id, restriction, is_derived=True)

    def _signature(self, signed: str) -> str:
        return _encoded(hmac.digest(self.secret.encode(), signed.encode(), hashlib.sha256))


@lru_cache(KEYS_READ)
def _claimed(encoded: str) -> tuple[frozenset[Scope], float, Restriction | None]:
    """The scopes, the end in seconds and the restriction. Parsing a long filter would take most of a millisecond."""
    content = json.loads(_decoded(encoded))
    return frozenset(map(Scope, content["s"])), content["e"], restriction_from(content.get("f"), content.get("n"))


def _both(parent: Restriction | None, own: Restriction | None) -> Restriction | None:
    if parent is None or own is None:
        return parent or own
    return parent & own


def _encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
