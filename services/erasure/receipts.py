"""Receipts of erasures: signed, numbered and chained, so that anybody can check them later without the service.

A receipt is a JSON object. Its digest is the SHA-256 of its canonical form (sorted keys, no white space, UTF-8), its
signature Ed25519 (RFC 8032) over the same without the signature. *previous* is the digest of the receipt before it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain import Json
from durable import sync_folder
from errors import Invalid

FORMAT = 1
FIRST = "0" * 64
"""What the first receipt has as the digest of the one before it."""

OUT_OF_SCOPE = (
    "blocks that a disk keeps for itself: wear levelling of SSDs, remapped sectors",
    "snapshots of file systems, volumes and virtual machines; versions that a bucket keeps of its objects",
    "write-ahead logs that Postgres has archived or sent to replicas, and pages of Postgres not yet used again",
    "backups: see backups; a restore applies this erasure before it serves",
    "logs that the service wrote, copies that clients and other services made, and what a model provider keeps",
    "what older versions deleted without overwriting it, until the database has been restored from a backup once",
)


def canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(receipt: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(receipt)).hexdigest()


def fingerprint(public_key: str) -> str:
    return hashlib.sha256(base64.b64decode(public_key)).hexdigest()[:16]


@dataclass(frozen=True)
class ReceiptSigner:
    """The key comes from a setting (its 32 bytes, as base64 or hex), or is in a file that only its owner can read."""

    file: Path
    secret: str = ""

    def sign(self, content: Mapping[str, Any]) -> Json:
        """The content with the public key and the signature."""
        key = self._key()
        signed = {**content, "public_key": _encode(key.public_key().public_bytes_raw())}
        return {**signed, "signature": _encode(key.sign(canonical(signed)))}

    def _key(self) -> Ed25519PrivateKey:
        seed = _decode_seed(self.secret) if self.secret else self._stored_seed()
        return Ed25519PrivateKey.from_private_bytes(seed)

    def _stored_seed(self) -> bytes:
        """Created at the first use. Of two processes that create it at once, one wins."""
        if not self.file.exists():
            temporary = self.file.with_name(f"{self.file.name}.{os.getpid()}.tmp")
            with open(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
                file.write(_encode(Ed25519PrivateKey.generate().private_bytes_raw()) + "\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, self.file)
            except FileExistsError:
                pass  # the other one won
            finally:
                temporary.unlink()
            sync_folder(self.file.absolute().parent)
        return _decode_seed(self.file.read_text().strip())


def verify_receipt(receipt: Mapping[str, Any], *, public_key: str | None = None) -> None:
    """Check the signature. Raises Invalid. Without *public_key* anybody may have signed it: compare the fingerprint."""
    unsigned = {name: value for name, value in receipt.items() if name != "signature"}
    try:
        own_key, signature = str(receipt["public_key"]), _decode(str(receipt["signature"]))
        if public_key is not None and public_key not in (own_key, fingerprint(own_key)):
            raise Invalid(f"It is signed with another key, whose fingerprint is {fingerprint(own_key)}.")
        Ed25519PublicKey.from_public_bytes(_decode(own_key)).verify(signature, canonical(unsigned))
    except (KeyError, ValueError, TypeError) as error:
        raise Invalid("This is not a receipt: it has no valid public_key and signature.") from error
    except InvalidSignature as error:
        raise Invalid("The signature does not match: the receipt was changed.") from error


def verify_ledger(ledger: Mapping[str, Any], *, public_key: str | None = None) -> int:
    """Check every receipt, that none is missing, and the signed head. Returns how many there are. Raises Invalid."""
    try:
        receipts: Sequence[Mapping[str, Any]] = ledger["receipts"]
        head: Mapping[str, Any] = ledger["head"]
        keys = {receipt["public_key"] for receipt in receipts}
    except (KeyError, TypeError) as error:
        raise Invalid("This is neither a receipt nor a ledger of receipts.") from error
    previous = FIRST
    for number, receipt in enumerate(receipts, 1):
        try:
            verify_receipt(receipt, public_key=public_key)
        except Invalid as error:
            raise Invalid(f"Receipt {number}: {error}") from error
        if receipt.get("number") != number or receipt.get("previous") != previous:
            raise Invalid(f"Receipt {number} is missing, or not the one that followed number {number - 1}.")
        previous = digest_of(receipt)
    verify_receipt(head, public_key=public_key)
    if keys and head["public_key"] not in keys:
        raise Invalid("The head of the ledger is signed with a key that signed none of its receipts.")
    if head.get("number") != len(receipts) or head.get("digest") != previous:
        raise Invalid(f"The ledger has {len(receipts)} receipts, and its head names {head.get('number')}.")
    return len(receipts)


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(encoded: str) -> bytes:
    raw = base64.b64decode(encoded, validate=True)
    if _encode(raw) != encoded:
        raise ValueError("not the canonical form")
    return raw


def _decode_seed(encoded: str) -> bytes:
    try:
        seed = bytes.fromhex(encoded) if len(encoded) == 64 else _decode(encoded)
    except ValueError:
        seed = b""
    if len(seed) != 32:
        raise Invalid("The key of receipts (RECEIPT_KEY, or the file RECEIPT_KEY_FILE) is not 32 bytes, base64 or hex.")
    return seed
