"""The limits of OpenAI's routes, for limits_rows.py."""

from __future__ import annotations

from api import limits
from api.openai import bodies, chunking, file_batches, uploads, vector_stores
from api.strings import LONGEST_CURSOR
from commands.limit_bounds import Bound, Section, largest, of_type
from services.search.checking import MAX_QUERIES
from services.stores.uploads import LIFETIME_HOURS, MOST_TIMES_ANNOUNCED

_CHARS, _MB = "characters", "MB"

OPENAI = Section(
    "OpenAI's files and vector stores",
    (
        Bound("Body of `/v1/files`, and of a part of an upload", "max_upload_mb", "413"),
        Bound("`bytes` of an upload", "max_upload_mb", "413; beyond 9007199254740992 422"),
        Bound("Parts of an upload together, of its `bytes`", MOST_TIMES_ANNOUNCED, "422", "times"),
        Bound("`part_ids` of an upload", largest(uploads.CompletionIn, "part_ids"), "422"),
        Bound("An upload that is not complete", LIFETIME_HOURS, "It has expired", "hour"),
        Bound("`filename`", of_type(bodies.Filename), "422", _CHARS),
        Bound("`mime_type` of an upload", of_type(bodies.MimeType), "422", _CHARS),
        Bound("`seconds` of a file's `expires_after`, `expires_after[seconds]`", bodies.MOST_SECONDS, "422"),
        Bound("`days` of a vector store's `expires_after`", vector_stores.MOST_DAYS, "422"),
        Bound("`name` of a vector store, `OpenAI-Organization`", of_type(bodies.StoreName), "422", _CHARS),
        Bound("`description` of a vector store", largest(vector_stores.VectorStoreIn, "description"), "422", _CHARS),
        Bound("`attributes`, and `metadata` of a vector store", bodies.MAX_KEYS, "422", "keys"),
        Bound("A key of `attributes`, or of `metadata` of a vector store", bodies.MAX_KEY_CHARS, "422", _CHARS),
        Bound("A value of `attributes`, or of `metadata` of a vector store", bodies.MAX_VALUE_CHARS, "422", _CHARS),
        Bound("`file_ids` of a new vector store", vector_stores.MOST_FILES_AT_CREATION, "422"),
        Bound("`file_ids` or `files` of a batch", file_batches.MOST_FILES, "422"),
        Bound("Body of a batch", limits.FIXED_BODY_BYTES[limits.FILE_BATCHES] >> 20, "413", _MB),
        Bound(
            "Body of a new vector store, or of a search in one",
            limits.FIXED_BODY_BYTES[limits.STORE_SEARCH] >> 20,
            "413",
            _MB,
        ),
        Bound("`max_chunk_size_tokens`", chunking.MOST_TOKENS, "422"),
        Bound("`chunk_overlap_tokens`, and half of `max_chunk_size_tokens`", chunking.MOST_TOKENS // 2, "422"),
        Bound("`query` of a vector store, as a list", MAX_QUERIES, "422"),
        Bound("`max_num_results`", vector_stores.MOST_RESULTS, "422"),
        Bound("`score_threshold`", 1, "422"),
        Bound(
            "`file_id`, `file_ids`, `part_ids`, `batch_id`, `upload_id`, `vector_store_id`, `md5`", 100, "422", _CHARS
        ),
        Bound("`limit` of a list of vector stores, or of their files", 100, "422"),
        Bound("`limit` of a list of files", 10_000, "422"),
        Bound("`after`, `before`", LONGEST_CURSOR, "422", _CHARS),
    ),
)
