"""What a receipt says of an erasure, before it is numbered, chained and signed. Nothing in it is a text or a name."""

from __future__ import annotations

import hashlib

from domain import Json
from models import Erasure
from services.erasure.names import as_keys
from services.erasure.receipts import FORMAT, OUT_OF_SCOPE
from version import VERSION

KEYS_IN_RECEIPT = 10_000


def content_of(erasure: Erasure, how: str, backups: list[Json]) -> Json:
    """The receipt without number, chain and signature."""
    names = as_keys(erasure.doc_keys or b"")
    listed = [name.hex() for name in names]
    tally, finished_at = erasure.tally, erasure.finished_at
    assert finished_at is not None
    return {
        "format": FORMAT,
        "id": erasure.id,
        "kind": erasure.kind,
        "requested_at": erasure.created_at.isoformat(),
        "finished_at": finished_at.isoformat(),
        "requested_by": erasure.requested_by,
        "reason": erasure.reason,
        "software": VERSION,
        "scope": {
            "tenant": erasure.scope["tenant"],
            "namespace": erasure.scope["namespace"],
            "documents": len(names),
            "documents_sha256": hashlib.sha256("\n".join(listed).encode()).hexdigest(),
            "document_names": listed if len(listed) <= KEYS_IN_RECEIPT else None,
        },
        "stores": _stores(tally),
        "media": how,
        "search": tally.get("search", {"searches": 0, "hits": 0}),
        "backups": backups,
        "out_of_scope": list(OUT_OF_SCOPE),
    }


def _stores(tally: Json) -> list[Json]:
    left = tally.get("left", {})
    return [
        {
            "store": store,
            "erased": tally.get(store, 0),
            "found": tally.get(store, 0) + left.get(store, 0),
            "left": left.get(store, 0),
            "verified": how,
        }
        for store, how in VERIFIED.items()
    ]


VERIFIED = {
    "documents": "removed in one transaction with their revisions",
    "revisions": "counted again by document: none is left",
    "files": "counted again by document: none is left",
    "raw_files": "deleted from the blob store, which names them no more",
    "file_objects": "files that the documents were attached from, with their raw files; counted again by document",
    "chunks": "counted again by document: none is left",
    "keywords": "counted again by chunk: none is left",
    "vectors": "removed, in every embedding version, with the last chunk that had the text",
    "vector_rows": "removed with their chunks, in every embedding version",
    "index_files": "written anew from the live chunks; every other file of the namespace was unlinked",
    "jobs": "payloads, results and errors of ended jobs were rewritten without the documents",
    "answers": "kept answers that named the documents are not repeated any more",
    "audit_rows": "rows of the audit log that named it keep their place and their hash, without the names",
    "events": "events that named the documents keep their number, and nothing else",
    "questions": "citations of the chunks, and text and hash of the questions that they answered",
}
