"""Which kind of store a BLOB_STORE_URL names."""

from __future__ import annotations

import os
from pathlib import Path

from engines.blobs.base import BlobStore
from engines.blobs.bucket import BucketStore
from engines.blobs.folder import FolderStore
from errors import BlobStoreUnavailable


def open_blob_store(url: str, *, min_free_bytes: int) -> BlobStore:
    """Makes and asks nothing yet. Raises BlobStoreUnavailable for a URL of another kind."""
    scheme, separator, place = url.partition("://")
    if separator and scheme == "file" and place:
        return FolderStore(Path(place).absolute(), min_free_bytes=min_free_bytes)
    if separator and scheme in ("s3", "gs") and place:
        return BucketStore(url, os.environ)
    raise BlobStoreUnavailable(
        "BLOB_STORE_URL is not a place that this service knows: file://./raw_files (the default, a folder), "
        "s3://bucket/prefix or gs://bucket/prefix."
    )
