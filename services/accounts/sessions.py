"""Sessions of browsers, which no process keeps: a session is the API key itself, sealed, and the time of its end.

The seal is made from the key's stored hash. So every process that has the database opens the session, and it ends with
its key. Whoever has a copy of the database cannot make one, which takes the key; nor does a session show the key to
whoever has it without the database.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from database.engine import Database
from domain import Principal
from errors import Unauthenticated
from models import ApiKey, utc_now
from services.accounts.api_keys import PREFIX, hash_of, id_of
from services.accounts.authentication import Authenticator

SESSION_SECONDS = 12 * 3600
ENDED = "This session has ended: sign in again."
_PURPOSE = b"ai3-datafactory browser session"
_NONCE_BYTES = 12
_LONGEST = 500


@dataclass(frozen=True)
class SessionService:
    database: Database
    authentication: Authenticator
    now: Callable[[], datetime] = utc_now

    def begin(self, key: str) -> str:
        """Returns a session of that key. Raises Unauthenticated."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.authentication.look_up(key)
        key_id = id_of(key)
        assert key_id is not None
        head = f"{key_id}.{int(self.now().timestamp()) + SESSION_SECONDS}"
        nonce, secret = secrets.token_bytes(_NONCE_BYTES), bytes.fromhex(key.rpartition("_")[2])
        sealed = AESGCM(_seal(hash_of(key))).encrypt(nonce, secret, head.encode())
        return f"{head}.{urlsafe_b64encode(nonce + sealed).decode()}"

    def principal(self, session: str) -> Principal:
        """Returns that of the session's key, as the database has it now. Raises Unauthenticated."""
        return self.authentication.look_up(self._key(session))

    def _key(self, session: str) -> str:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key_id, ends_at, sealed = _parts(session)
        if ends_at <= self.now().timestamp():
            raise Unauthenticated(ENDED)
        with self.database.read() as reading:
            key_hash = reading.scalar(select(ApiKey.key_hash).where(ApiKey.id == key_id))
        if key_hash is None:
            raise Unauthenticated(ENDED)
        head = f"{key_id}.{ends_at}".encode()
        try:
            secret = AESGCM(_seal(key_hash)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], head)
        except (InvalidTag, ValueError) as error:
            raise Unauthenticated(ENDED) from error
        return f"{PREFIX}{key_id}_{secret.hex()}"


def _seal(key_hash: bytes) -> bytes:
    return hmac.digest(key_hash, _PURPOSE, hashlib.sha256)


def _parts(session: str) -> tuple[str, int, bytes]:
    """Raises Unauthenticated for what does not have the form of a session."""
    key_id, _, rest = session[:_LONGEST].partition(".")
    ends_at, _, sealed = rest.partition(".")
    if not (ends_at.isascii() and ends_at.isdigit()):
        raise Unauthenticated(ENDED)
    try:
        return key_id, int(ends_at), urlsafe_b64decode(sealed.encode("ascii"))
    except ValueError as error:
        raise Unauthenticated(ENDED) from error
