"""How a file is attached to a vector store, by itself or in a batch."""

from __future__ import annotations

from api.doors import LenientBody
from api.openai.bodies import Attributes, FileId
from api.openai.chunking import ChunkingStrategyIn, overlap_of
from api.responses import EMBEDDING, QUOTAS
from errors import BlobStoreUnavailable, Conflict, Ended, NotFound, Unreadable
from services.stores.store_file_rows import Attachment

ATTACHING = (*EMBEDDING, *QUOTAS, NotFound, Conflict, Ended, Unreadable, BlobStoreUnavailable)


class StoreFileIn(LenientBody):
    file_id: FileId
    attributes: Attributes | None = None
    chunking_strategy: ChunkingStrategyIn | None = None

    def to_attachment(self) -> Attachment:
        return Attachment(self.file_id, dict(self.attributes or {}), overlap_of(self.chunking_strategy))
