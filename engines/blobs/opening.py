"""Opens the blob store that BLOB_STORE_URL names."""

from __future__ import annotations

import os
from pathlib import Path

from engines.blobs.base import BlobStore
from engines.blobs.bucket import BucketStore
from engines.blobs.folder import FolderStore
from errors import BlobStoreUnavailable


def open_blob_store(url: str, *, min_free_bytes: int) -> BlobStore:
    """Creates nothing and opens no connection. Raises BlobStoreUnavailable for an unknown kind of URL."""
    scheme, separator, location = url.partition("://")
    if separator and scheme == "file" and location:
        return FolderStore(Path(location).absolute(), min_free_bytes=min_free_bytes)
    if separator and scheme in ("s3", "gs") and location:
        return BucketStore(url, os.environ)
    raise BlobStoreUnavailable(
        "BLOB_STORE_URL is not a location that this service supports: file://./raw_files (the default, a folder), "
        "s3://bucket/prefix or gs://bucket/prefix."
    )
