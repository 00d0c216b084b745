"""Raw files in a bucket, s3:// or gs://, via obstore (Rust's object_store), set by the clouds' own variables.

obstore uploads parts while a file is written and completes it at the end; until then it is invisible.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engines.blobs.base import READ_BYTES, BlobWriter, copy_into
from errors import BlobStoreUnavailable

log = logging.getLogger(__name__)

PART_BYTES = 8 << 20
PARTS_AT_ONCE = 2
CONNECT_SECONDS = 5
REQUEST_SECONDS = 60
RETRIES = 2
RETRY_SECONDS = 20
_NO_BUCKET = "NoSuchBucket"
_MISSING = "A raw file is not in the bucket that BLOB_STORE_URL names: API and workers need the same one."
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


class BucketStore:
    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        """Opens no connection. Raises BlobStoreUnavailable for an invalid URL or invalid variables."""
        from obstore.store import from_url

        options: Any = {"connect_timeout": f"{CONNECT_SECONDS}s", "timeout": f"{REQUEST_SECONDS}s"}
        if _is_on_this_machine(environment):
            options["allow_http"] = True
        retries: Any = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}
        self.url = url
        with _translated_errors():
            self._store = from_url(url, client_options=options, retry_config=retries)

    @contextmanager
    def open_writer(self, name: str) -> Iterator[BlobWriter]:
        import obstore

        with _translated_errors():
            file = obstore.open_writer(self._store, name, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
        try:
            yield _UploadWriter(file)
            with _translated_errors():
                file.close()
        except BaseException:
            self._abort(file, name)
            raise

    def read(self, name: str) -> Iterator[bytes]:
        import obstore

        with _translated_errors():
            result = obstore.get(self._store, name)
        return _pieces(result)

    def adopt(self, path: Path, name: str) -> None:
        copy_into(self, path, name)

    def copy(self, source: str, name: str) -> None:
        import obstore

        with _translated_errors():
            obstore.copy(self._store, source, name)

    def names(self) -> Iterator[str]:
        import obstore

        with _translated_errors():
            for batch in obstore.list(self._store):
                yield from (each["path"] for each in batch)

    def delete(self, name: str) -> None:
        import obstore

        with _translated_errors(), _ignore_missing():
            obstore.delete(self._store, name)

    def tidy(self) -> None:
        """A bucket has no folders."""

    def check(self) -> str:
        """A missing file is a good answer, if it comes from the store."""
        import obstore

        with _translated_errors(), _ignore_missing():
            obstore.get(self._store, "check")
        return f"{self.url} answers"

    def _abort(self, file: Any, name: str) -> None:
        """Stores keep and charge for incomplete uploads, so complete and delete this one."""
        with suppress(BlobStoreUnavailable), _translated_errors():
            if not file.closed():
                file.close()
            self.delete(name)


class _UploadWriter:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: bytes, /) -> int:
        with _translated_errors():
            self._file.write(data)
        return len(data)


def _pieces(result: Any) -> Iterator[bytes]:
    with _translated_errors():
        for piece in result.stream(min_chunk_size=READ_BYTES):
            yield bytes(piece)


def _is_on_this_machine(environment: Mapping[str, str]) -> bool:
    """Plain HTTP is allowed by default only within this machine; for the rest there is AWS_ALLOW_HTTP."""
    endpoint = urlsplit(next((environment[name] for name in _ENDPOINTS if environment.get(name)), ""))
    try:
        return endpoint.hostname == "localhost" or ipaddress.ip_address(endpoint.hostname or "").is_loopback
    except ValueError:
        return False


@contextmanager
def _translated_errors() -> Iterator[None]:
    """The store's own message, which names hosts and buckets, goes to the log only."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        if _is_missing(error):
            raise BlobStoreUnavailable(_MISSING) from error
        log.error("%s", _first_line(error))
        raise BlobStoreUnavailable(
            "The bucket of raw files cannot be reached or refuses the request: nothing was kept. Try again; if "
            "the error persists, see the log for the reason, and check BLOB_STORE_URL and the store's own variables."
        ) from error


@contextmanager
def _ignore_missing() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if not _is_missing(error):
            raise


def _is_missing(error: Exception) -> bool:
    """Whether the store answered that it has no such blob."""
    return isinstance(error, FileNotFoundError) and _NO_BUCKET not in str(error)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:500]
