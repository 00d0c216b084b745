"""Raw files in an object store, s3:// or gs://, over obstore: Rust's object_store, which the clouds' own variables set.

obstore sends a file in parts while it is written, and completes it at the end: before, nobody sees it.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from engines.blobs.base import READ_BYTES, BlobWriter
from errors import BlobStoreUnavailable

log = logging.getLogger(__name__)

PART_BYTES = 8 << 20
PARTS_AT_ONCE = 2
CONNECT_SECONDS = 5
REQUEST_SECONDS = 60
RETRIES = 2
RETRY_SECONDS = 20
_NO_BUCKET = "NoSuchBucket"
_MISSING = "A raw file is not in the object store that BLOB_STORE_URL names: API and workers need the same one."
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


class BucketStore:
    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        """Opens no connection. Raises BlobStoreUnavailable for a URL or variables that cannot be right."""
        from obstore.store import from_url

        options: Any = {"connect_timeout": f"{CONNECT_SECONDS}s", "timeout": f"{REQUEST_SECONDS}s"}
        if _is_on_this_machine(environment):
            options["allow_http"] = True
        retries: Any = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}
        self.url = url
        with _plain_errors():
            self._store = from_url(url, client_options=options, retry_config=retries)

    @contextmanager
    def writing(self, name: str) -> Iterator[BlobWriter]:
        import obstore

        with _plain_errors():
            file = obstore.open_writer(self._store, name, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
        try:
            yield _Writer(file)
            with _plain_errors():
                file.close()
        except BaseException:
            self._take_back(file, name)
            raise

    def read(self, name: str) -> Iterator[bytes]:
        import obstore

        with _plain_errors():
            found = obstore.get(self._store, name)
        return _pieces(found)

    def delete(self, name: str) -> None:
        import obstore

        with _plain_errors(), _missing_is_fine():
            obstore.delete(self._store, name)

    def check(self) -> str:
        """A file that is not there is a good answer, if it comes from the store."""
        import obstore

        with _plain_errors(), _missing_is_fine():
            obstore.get(self._store, "check")
        return f"{self.url} answers"

    def _take_back(self, file: Any, name: str) -> None:
        """Parts that are never completed are kept by the store, and charged for: complete and delete them."""
        with suppress(BlobStoreUnavailable), _plain_errors():
            if not file.closed():
                file.close()
            self.delete(name)


class _Writer:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: bytes, /) -> int:
        with _plain_errors():
            self._file.write(data)
        return len(data)


def _pieces(found: Any) -> Iterator[bytes]:
    with _plain_errors():
        for piece in found.stream(min_chunk_size=READ_BYTES):
            yield bytes(piece)


def _is_on_this_machine(environment: Mapping[str, str]) -> bool:
    """Only what never leaves the machine may go unencrypted; for the rest there is AWS_ALLOW_HTTP."""
    endpoint = urlsplit(next((environment[name] for name in _ENDPOINTS if environment.get(name)), ""))
    try:
        return endpoint.hostname == "localhost" or ipaddress.ip_address(endpoint.hostname or "").is_loopback
    except ValueError:
        return False


@contextmanager
def _plain_errors() -> Iterator[None]:
    """What the store says goes to the log: it names hosts and buckets."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        if _is_missing(error):
            raise BlobStoreUnavailable(_MISSING) from error
        log.error("%s", _first_line(error))
        raise BlobStoreUnavailable(
            "The object store of raw files cannot be reached, or refuses: nothing of this was kept. Try again; if it "
            "stays so, the log says why, and BLOB_STORE_URL and the store's own variables what to correct."
        ) from error


@contextmanager
def _missing_is_fine() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if not _is_missing(error):
            raise


def _is_missing(error: Exception) -> bool:
    """The store answers, and has no such blob."""
    return isinstance(error, FileNotFoundError) and _NO_BUCKET not in str(error)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:500]
