"""The largest body of each route, and how much of all bodies a process holds at once.

Besides, every list and object of a request's model has a largest length, which the OpenAPI document states; settings
may lower these lengths, never raise them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from starlette.types import Scope

from settings import Settings

KIB, MIB = 1 << 10, 1 << 20

LARGE_BODY_BYTES = 64 * KIB
"""A body of this size or more is parsed in a thread, one at a time, and counted against the limits of all bodies."""

RECEIVED_PER_MAX_BODY = 4
"""All large bodies of a process together may have this many times MAX_BODY_MB."""

PARSED_PER_MAX_BODY = 8
"""Their parsed values may take this many times MAX_BODY_MB, as parsed_bytes() estimates, and one of them half of it."""

PATIENCE_SECONDS = 10.0
"""How long a large body waits for each of its turns; then 503."""

RECEIVE_SECONDS = 120.0
"""How long a large body may take to arrive; then 408."""

MAX_ERRORS_LISTED = 10
MAX_MESSAGE_CHARS, MAX_DETAIL_CHARS = 300, 4000
"""Longest single message, or name of the client's choice, and longest detail of a problem."""

MAX_CHUNKS = 100_000
MAX_METADATA_KEYS = 10_000

_MAX_DIGITS = 18  # far more than any limit, far less than Python reads
_VALUE_BYTES, _STRING_BYTES, _LONG_STRING_BYTES = 64, 200, 64


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """The largest body that *path* takes. *setting* is the operator's setting, None for a fixed limit.

    A stream may take any time, but each of its pieces only so much.
    """

    path: str
    largest: int
    setting: str | None = None
    is_stream: bool = False

    def __str__(self) -> str:
        size = f"{self.largest // MIB} MB" if self.largest >= MIB else f"{self.largest // KIB} KB"
        return f"{size} ({self.setting})" if self.setting else size


COMPARE = "/v1/index/versions/{index_version}/compare"
PARTS, STORE_SEARCH = "/v1/uploads/{upload_id}/parts", "/v1/vector_stores/{vector_store_id}/search"
FILE_BATCHES = "/v1/vector_stores/{vector_store_id}/file_batches"
FIXED_BODY_BYTES = {
    **dict.fromkeys(("/v1/search", "/v1/ask", "/v1/docs/fetch", STORE_SEARCH, "/v1/vector_stores"), MIB),
    **dict.fromkeys(("/v1/eval", COMPARE, FILE_BATCHES), 8 * MIB),
}
_WITH_NAMES = [
    (re.compile(re.sub(r"{\w+}", "[^/]+", path)), path) for path in (COMPARE, PARTS, STORE_SEARCH, FILE_BATCHES)
]
CHATS = ("/v1/chat/completions", "/v1/embeddings")
OTHER_BODY_BYTES = 256 * KIB
STREAM = "/v1/docs/upsert/stream"
UPLOADS = ("/v1/docs/upload", "/v1/docs/preview", "/console/documents/upload")

LINES_PER_BATCH = 256
"""So many lines of a stream are stored by one transaction, if MAX_BATCH_DOCS allows as many."""

BATCH_SECONDS = 0.1
"""How long a line waits for others to be stored with."""

BATCHES_PER_LINE = 32
"""A batch of lines has at most this part of MAX_BODY_MB, so that its values fit what one body may take, parsed."""


def body_limits(settings: Settings) -> Iterable[BodyLimit]:
    """All paths but those that take OTHER_BODY_BYTES."""
    return _limits_by_path(settings.max_upload_mb, settings.max_body_mb).values()


def body_limit(path: str, settings: Settings) -> BodyLimit:
    limits = _limits_by_path(settings.max_upload_mb, settings.max_body_mb)
    if path not in limits:
        path = next((template for pattern, template in _WITH_NAMES if pattern.fullmatch(path)), path)
    return limits.get(path) or BodyLimit(path, OTHER_BODY_BYTES)


@lru_cache
def _limits_by_path(max_upload_mb: int, max_body_mb: int) -> dict[str, BodyLimit]:
    limits = [
        *(BodyLimit(path, max_upload_mb * MIB, "MAX_UPLOAD_MB") for path in (*UPLOADS, "/v1/files", PARTS)),
        *(BodyLimit(f"/v1/docs/{name}", max_body_mb * MIB, "MAX_BODY_MB") for name in ("upsert", "upsert/batch")),
        BodyLimit(STREAM, sys.maxsize, is_stream=True),
        *(BodyLimit(path, largest) for path, largest in FIXED_BODY_BYTES.items()),
        *(BodyLimit(path, MIB) for path in CHATS),
        *(BodyLimit(f"/v1/librechat/{name}", max_upload_mb * MIB, "MAX_UPLOAD_MB") for name in ("embed", "text")),
    ]
    return {each.path: each for each in limits}


def line_batch_bytes(longest_line: int) -> int:
    return longest_line // BATCHES_PER_LINE


def header(scope: Scope, name: bytes) -> bytes:
    """The value of a header, whose *name* is in lower case; empty if the request has none. The last of several."""
    return next((value for each, value in reversed(scope["headers"]) if each == name), b"")


def declared_length(scope: Scope) -> int | None:
    """None: the request does not declare it, for example because its body is chunked."""
    length = header(scope, b"content-length")
    return int(length) if length.isdigit() and len(length) <= _MAX_DIGITS else None


def parsed_bytes(body: bytes) -> int:
    """The memory that the JSON will take once parsed: an estimate, rather too high than too low.

    Values are counted by commas and brackets; if strings are long, by those outside of strings. Measured with CPython
    3.11: a float in a list takes 40 bytes, a list 76, a short string 80, a key with its value 104, a model the most.
    """
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in body else body
    strings = plain.count(b'"') // 2
    if strings * _LONG_STRING_BYTES < len(plain):
        plain = b"".join(plain.split(b'"')[::2])
    values = plain.count(b",") + plain.count(b"[") + plain.count(b"{")
    return len(body) + values * _VALUE_BYTES + strings * _STRING_BYTES
