"""Our values as objects of OpenAI's API, with its closed lists of words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from domain import Json
from services.ingest.browsing import ChunkInfo
from services.search.question import Passage
from services.stores.batches import BatchInfo
from services.stores.files import FileInfo
from services.stores.store_file_rows import FILENAME, StoreFileInfo, attributes_of
from services.stores.stores import FileCounts, StoreInfo
from services.stores.uploads import PartInfo, UploadInfo

SHOWN_PURPOSES = {"evals": "user_data"}
"""What a file may be uploaded for, but is not answered as."""


def file_object(file: FileInfo) -> Json:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.byte_count,
        "created_at": _seconds(file.created_at),
        "expires_at": _seconds(file.expires_at),
        "filename": file.filename,
        "purpose": SHOWN_PURPOSES.get(file.purpose, file.purpose),
        "status": "processed",
        "status_details": None,
    }


def upload(info: UploadInfo) -> Json:
    return {
        "id": info.id,
        "object": "upload",
        "bytes": info.byte_count,
        "created_at": _seconds(info.created_at),
        "expires_at": _seconds(info.expires_at),
        "filename": info.filename,
        "purpose": info.purpose,
        "status": info.status,
        "file": None if info.file is None else file_object(info.file),
    }


def upload_part(part: PartInfo) -> Json:
    created_at = _seconds(part.created_at)
    return {"id": part.id, "object": "upload.part", "created_at": created_at, "upload_id": part.upload_id}


def vector_store(info: StoreInfo) -> Json:
    """*namespace* is ours: under that name the other doors know it."""
    store, settings = info.store, info.store.settings
    days = settings.expires_days if settings is not None else None
    waiting = "in_progress" if info.counts.in_progress else "completed"
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": _seconds(store.project.created_at),
        "name": info.name,
        "description": settings.description if settings is not None else None,
        "namespace": store.namespace,
        "usage_bytes": store.project.live_bytes,
        "file_counts": _counts(info.counts),
        "status": "expired" if info.is_expired else waiting,
        "expires_after": None if days is None else {"anchor": "last_active_at", "days": days},
        "expires_at": _seconds(info.expires_at),
        "last_active_at": _seconds(info.last_active_at),
        "metadata": settings.store_metadata if settings is not None else {},
    }


def store_file(info: StoreFileInfo, chunk_tokens: int) -> Json:
    """A document that was not cut from a file has a strategy of its own: "other"."""
    cut = {"max_chunk_size_tokens": chunk_tokens, "chunk_overlap_tokens": info.overlap_tokens}
    return {
        "id": info.doc_id,
        "object": "vector_store.file",
        "created_at": _seconds(info.created_at),
        "vector_store_id": info.store_id,
        "filename": info.filename,
        "status": info.status,
        "usage_bytes": info.byte_count,
        "last_error": _last_error(info),
        "attributes": info.attributes,
        "chunking_strategy": {"type": "other"} if info.overlap_tokens is None else {"type": "static", "static": cut},
    }


def file_batch(info: BatchInfo) -> Json:
    return {
        "id": info.batch.id,
        "object": "vector_store.files_batch",
        "created_at": _seconds(info.batch.created_at),
        "vector_store_id": info.store_id,
        "status": info.status,
        "file_counts": _counts(info.counts),
    }


def file_content(chunks: list[ChunkInfo]) -> Json:
    """All of it: the clients never ask for a second page."""
    data = [{"type": "text", "text": chunk.text} for chunk in chunks]
    return {"object": "vector_store.file_content.page", "data": data, "has_more": False, "next_page": None}


def search_hit(passage: Passage) -> Json:
    filename = str(passage.metadata.get(FILENAME) or passage.title or passage.doc_id)
    return {
        "file_id": passage.doc_id,
        "filename": filename,
        "score": passage.score,
        "attributes": attributes_of(passage.metadata, filename),
        "content": [{"type": "text", "text": passage.text}],
    }


def _counts(counts: FileCounts) -> Json:
    names = ("in_progress", "completed", "failed", "cancelled", "total")
    return {name: getattr(counts, name) for name in names}


def _last_error(info: StoreFileInfo) -> Any:
    if info.status != "failed":
        return None
    message = info.error or "It failed."
    return {"code": "server_error" if info.was_read else "invalid_file", "message": message}


def _seconds(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp())
