"""Names under which a ledger of erasures knows tenants, namespaces and documents: keyed hashes, never the names."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

KEY_BYTES, NAME_BYTES = 32, 16


@dataclass(frozen=True, slots=True)
class NameKeys:
    """HMAC-SHA256 under the installation's own *key*, cut to 16 bytes: without it nobody can try out names."""

    key: bytes

    def tenant(self, tenant_id: str) -> str:
        return self._hashed("tenant", tenant_id).hex()

    def namespace(self, tenant_id: str, namespace: str) -> str:
        return self._hashed("namespace", tenant_id, namespace).hex()

    def document(self, tenant_id: str, namespace: str, doc_id: str) -> bytes:
        return self._hashed("document", tenant_id, namespace, doc_id)

    def _hashed(self, *words: str) -> bytes:
        return hmac.digest(self.key, "\x00".join(words).encode(), hashlib.sha256)[:NAME_BYTES]


def as_keys(names: bytes) -> list[bytes]:
    return [names[start : start + NAME_BYTES] for start in range(0, len(names), NAME_BYTES)]
