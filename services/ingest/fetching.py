"""Fetches a document from a URL into the blob store, within the request, and accepts it like an upload.

Nothing is accepted before the fetch is complete, so the caller learns at once why a URL gives no document.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from threading import BoundedSemaphore

from engines.web.fetcher import Fetcher
from errors import FetchDisabled, Overloaded
from services.ingest.drafts import NewDoc, UpsertResult
from services.ingest.uploading import UploadService

MAX_CONCURRENT = 4


@dataclass(frozen=True)
class FetchService:
    """*fetcher* is None if fetching is disabled."""

    uploads: UploadService
    fetcher: Fetcher | None
    slots: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(MAX_CONCURRENT))

    def fetch(self, url: str, doc: NewDoc) -> tuple[UpsertResult, NewDoc]:
        """Accept the content of *url* as *doc*; return the result, and *doc* with its file.

        Raises FetchDisabled, Overloaded, and what fetching and accepting raise.
        """
        if self.fetcher is None:
            raise FetchDisabled("Fetching is off here: the operator can allow it with FETCH_ENABLED=true.")
        if not self.slots.acquire(blocking=False):
            raise Overloaded(f"{MAX_CONCURRENT} documents are being fetched already: try again in a moment.")
        try:
            return self._fetch(self.fetcher, url, doc)
        finally:
            self.slots.release()

    def _fetch(self, fetcher: Fetcher, url: str, doc: NewDoc) -> tuple[UpsertResult, NewDoc]:
        with fetcher.open(url) as fetched:
            incoming = self.uploads.begin(fetched.filename, fetched.content_type)
            try:
                for piece in fetched.pieces:
                    incoming.write(piece)
                fetched_doc = replace(doc, file=incoming.finish(), metadata={"url": url, **doc.metadata})
                return self.uploads.accept([fetched_doc]), fetched_doc
            finally:
                incoming.abort()
                self.uploads.delete_unattached([incoming.blob])
