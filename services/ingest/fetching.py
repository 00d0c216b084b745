"""A document from a URL: fetched within the request, into the store, and then accepted like an upload.

Nothing is accepted before it is here, so whoever asked learns at once why a URL gives no document.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from threading import BoundedSemaphore

from engines.web.fetcher import Fetcher
from errors import FetchDisabled, Overloaded
from services.ingest.drafts import NewDoc, Upserted
from services.ingest.uploading import UploadService

AT_ONCE = 4


@dataclass(frozen=True)
class FetchService:
    """*fetcher* is None where the operator did not allow it."""

    uploads: UploadService
    fetcher: Fetcher | None
    slots: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(AT_ONCE))

    def fetch(self, url: str, doc: NewDoc) -> tuple[Upserted, NewDoc]:
        """Accept what *url* names as *doc*, and return that with its file.

        Raises FetchDisabled, Overloaded, and what fetching and accepting raise.
        """
        if self.fetcher is None:
            raise FetchDisabled("Fetching is off here: the operator can allow it with FETCH_ENABLED=true.")
        if not self.slots.acquire(blocking=False):
            raise Overloaded(f"{AT_ONCE} documents are being fetched already: try again in a moment.")
        try:
            return self._fetch(self.fetcher, url, doc)
        finally:
            self.slots.release()

    def _fetch(self, fetcher: Fetcher, url: str, doc: NewDoc) -> tuple[Upserted, NewDoc]:
        with fetcher.open(url) as fetched:
            incoming = self.uploads.begin(fetched.filename, fetched.content_type)
            try:
                for piece in fetched.pieces:
                    incoming.write(piece)
                wanted = replace(doc, file=incoming.finish(), metadata={"url": url, **doc.metadata})
                return self.uploads.accept([wanted]), wanted
            finally:
                incoming.abort()
                self.uploads.remove_untaken([incoming.blob])
