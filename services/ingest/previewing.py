"""Says what a file would become, by the code that an upload and its worker go through, and stores nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import BoundedSemaphore
from typing import IO

from domain import Json, RawFile
from engines.blobs.base import BlobWriter
from engines.embedders.base import Embedder
from engines.extraction.extractor import Extractor
from errors import Overloaded, StorageFull
from scratch import Scratch
from services.ingest.drafts import Draft, DraftMaker, NewDoc, draft_of_file
from services.ingest.preparing import Preparing
from services.ingest.rows import described_chunk
from services.ingest.uploading import IncomingFile, with_filename

MAX_CONCURRENT = 4


@dataclass(frozen=True, slots=True)
class Preview:
    """A file as the document that it would become."""

    file: RawFile
    draft: Draft

    @property
    def doc(self) -> NewDoc:
        return self.draft.doc

    @property
    def messages(self) -> list[str]:
        """The distinct messages of the warnings."""
        return list(dict.fromkeys(each.message for each in self.draft.warnings))

    def described(self, *, text_offset: int = 0, text_limit: int | None = None) -> Json:
        """Returns all but the chunks, with *text_limit* characters of the text from *text_offset* on."""
        text, file = self.doc.text, self.file
        stop = len(text) if text_limit is None else text_offset + text_limit
        return {
            "filename": file.filename,
            "mime_type": self.doc.mime_type,
            "bytes": file.byte_count,
            "sha256": file.sha256,
            "title": self.doc.title,
            "chunk_strategy": self.doc.chunk_strategy,
            "text_length": len(text),
            "text_offset": text_offset,
            "text": text[text_offset:stop],
            "chunk_count": len(self.draft.spans),
            "warnings": self.messages,
            "warning_details": [asdict(each) for each in self.draft.warnings],
        }

    def chunks(self, *, limit: int | None = None, after: int | None = None) -> list[Json]:
        """Returns the chunks in document order, at most *limit* of them, starting after index *after*."""
        spans, start = self.draft.spans, 0 if after is None else after + 1
        stop = len(spans) if limit is None else min(start + limit, len(spans))
        return [described_chunk(index, spans[index], self.draft.headers[index]) for index in range(start, stop)]


@dataclass(frozen=True)
class FilePreviewer:
    """Reads and cuts a file. Needs no database."""

    extractor: Extractor
    make_draft: DraftMaker

    def preview(self, path: Path, doc: NewDoc, model: Embedder) -> Preview:
        """Raises Unreadable, with the message that the document would have as its error."""
        assert doc.file is not None
        extracted = self.extractor.extract(path, doc.file.filename, declared=doc.file.declared)
        return Preview(doc.file, draft_of_file(doc, extracted, model, self.make_draft))


@dataclass(frozen=True)
class PreviewService:
    previewer: FilePreviewer
    preparing: Preparing
    slots: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(MAX_CONCURRENT))

    def preview(self, path: Path, doc: NewDoc) -> Preview:
        """Raises Overloaded, and whatever accepting the document and extracting its file raise."""
        [checked] = self.preparing.check([with_filename(doc)])
        model = self.preparing.model(checked)
        with self._slot():
            return self.previewer.preview(path, checked, model)

    def text(self, path: Path, file: RawFile) -> str:
        """Returns the text of a file alone. Raises Overloaded and Unreadable."""
        with self._slot():
            return self.previewer.extractor.extract(path, file.filename, declared=file.declared).text

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self.slots.acquire(blocking=False):
            raise Overloaded(f"{MAX_CONCURRENT} files are being previewed already: try again in a moment.")
        try:
            yield
        finally:
            self.slots.release()


class ScratchFolder:
    """Receives a file into a temporary folder, which close() deletes."""

    def __init__(self) -> None:
        self._folder = Scratch()
        self.path = self._folder.path / "file"

    def begin(self, filename: str, declared: str = "") -> IncomingFile:
        return IncomingFile(_scratch_file(self.path), self.path.name, filename, declared)

    def close(self) -> None:
        self._folder.close()


@contextmanager
def _scratch_file(path: Path) -> Iterator[BlobWriter]:
    with open(path, "wb") as file:
        yield _ScratchWriter(file)
        with _refused_when_full():
            file.flush()


class _ScratchWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes, /) -> int:
        with _refused_when_full():
            return self._file.write(data)


@contextmanager
def _refused_when_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageFull("The disk for temporary files is full: free some space.") from error
