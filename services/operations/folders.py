"""Ingests local files as documents: reads them, and upserts in batches."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.extraction.extractor import Extractor
from errors import (
    DatabaseUnavailable,
    Invalid,
    ModelUnavailable,
    ServiceError,
    StorageFull,
    Unreadable,
    VersionUnavailable,
)
from services.index import namespaces
from services.index.names import check_new_name
from services.ingest.documents import DocumentService
from services.ingest.drafts import NewDoc, UpsertResult
from services.ingest.rows import newest_revisions
from services.operations.local_files import LocalFile
from services.operations.walking import Failure
from text.chunkers.base import STRATEGY_NAMES
from text.extract.base import ExtractedText
from text.extract.kinds import PLAIN, kind_of
from text.extract.plain import decoded

BATCH_DOCS = 16
BATCH_CHARS = 200_000

# They would fail every file, and trying each against a server that is down takes hours.
ABORTING_ERRORS = (ModelUnavailable, VersionUnavailable, DatabaseUnavailable, StorageFull)

NOTHING = UpsertResult()
SOURCE_PATH = "source_path"
"""The key of the metadata that records the file a document came from."""
_BYTES_PER_CHAR = 4  # at the most, in UTF-8 and in UTF-16


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for some files. *empty* ones are skipped; what is stored under their doc_id stays."""

    upserted: UpsertResult = NOTHING
    empty: tuple[str, ...] = ()
    failed: tuple[Failure, ...] = ()

    @property
    def files(self) -> int:
        return self.upserted.upserted_docs + self.upserted.skipped_docs + len(self.empty) + len(self.failed)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(self.upserted + other.upserted, self.empty + other.empty, self.failed + other.failed)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the documents go and how they are cut. Without *strategy*, each file's type decides.

    *replaces_others*: a document that came from another file may be replaced.
    """

    tenant_id: str
    namespace: str
    strategy: str | None = None
    enrich: bool = True
    replaces_others: bool = False


@dataclass(frozen=True)
class FileIngestingService:
    documents: DocumentService
    extractor: Extractor

    def ingest(
        self, files: Sequence[LocalFile], target: Target, *, begin: Callable[[str], None] = lambda _: None
    ) -> Iterator[Outcome]:
        """Extract, embed and publish batch by batch; each yielded outcome is already committed.

        *begin* is called with each doc_id when its file is read.
        Raises Invalid for the target, and any of ABORTING_ERRORS.
        """
        self._check(target)
        batch: list[NewDoc] = []
        for file in files:
            begin(file.doc_id)
            try:
                doc = self._read(file, target)
            except (Invalid, Unreadable) as error:
                yield Outcome(failed=(Failure(file.doc_id, str(error)),))
                continue
            if not doc.text.strip():
                yield Outcome(empty=(file.doc_id,))
                continue
            if batch and not self._has_room(batch, doc):
                yield from self._store(batch, target)
                batch = []
            batch.append(doc)
        if batch:
            yield from self._store(batch, target)

    def _check(self, target: Target) -> None:
        """Raise once what would fail every file."""
        check_new_name("tenant", target.tenant_id, self.documents.limits.name_chars)
        check_new_name("namespace", target.namespace, self.documents.limits.name_chars)
        if target.strategy is not None and target.strategy not in STRATEGY_NAMES:
            raise Invalid(f"There is no strategy {target.strategy!r}; there are {', '.join(STRATEGY_NAMES)}.")

    def _read(self, file: LocalFile, target: Target) -> NewDoc:
        try:
            file.doc_id.encode()
        except UnicodeEncodeError as error:
            raise Invalid("Its name is not valid UTF-8: rename it.") from error
        extracted = self._extract(file)
        return NewDoc(
            tenant_id=target.tenant_id,
            namespace=target.namespace,
            doc_id=file.doc_id,
            text=extracted.text,
            metadata={"filename": unicodedata.normalize("NFC", file.path.name), SOURCE_PATH: _as_text(file.path)},
            title=extracted.title or unicodedata.normalize("NFC", file.path.name),
            source_type="upload",
            mime_type=extracted.mime_type,
            chunk_strategy=target.strategy or extracted.strategy,
            enrich_context=target.enrich,
        )

    def _extract(self, file: LocalFile) -> ExtractedText:
        """Plain text is read here, other types in a child process, which a bad file may kill."""
        head = file.head()
        if not head:
            return ExtractedText("", "text/plain", "default")
        kind = kind_of(head, file.inner_name)
        if kind not in PLAIN:
            with file.readable_path(self.extractor.limits.memory_bytes) as path:
                return self.extractor.extract(path, file.inner_name)
        max_bytes = _BYTES_PER_CHAR * self.documents.limits.text_chars
        reason = f"It has more than {max_bytes} bytes, more than any text that is accepted (MAX_TEXT_CHARS)."
        plain = decoded(file.read(max_bytes, reason))
        return ExtractedText(plain.text, kind.mime_type, PLAIN[kind], warnings=plain.caveats)

    def _has_room(self, batch: Sequence[NewDoc], doc: NewDoc) -> bool:
        chars = sum(len(doc.text) for doc in batch)
        return len(batch) < min(BATCH_DOCS, self.documents.limits.batch_docs) and chars + len(doc.text) <= BATCH_CHARS

    def _store(self, docs: Sequence[NewDoc], target: Target) -> Iterator[Outcome]:
        refused = {} if target.replaces_others else self._of_other_files(docs, target)
        for doc_id, path in refused.items():
            reason = f"This doc_id is that of {path}. --prefix gives it another; --replace replaces that document."
            yield Outcome(failed=(Failure(doc_id, reason),))
        if rest := [doc for doc in docs if doc.doc_id not in refused]:
            yield from self._upsert(rest)

    def _of_other_files(self, docs: Sequence[NewDoc], target: Target) -> dict[str, str]:
        """Returns the paths of the files from which other documents of the same doc_ids came, if their text differs."""
        with self.documents.database.read() as session:
            project = namespaces.find(session, target.tenant_id, target.namespace)
            stored = newest_revisions(session, project, [doc.doc_id for doc in docs]) if project else {}
        others: dict[str, str] = {}
        for doc in docs:
            row, revision = stored.get(doc.doc_id, (None, None))
            if row is None or revision is None or row.deleted_at is not None or revision.doc_hash == doc.content_hash:
                continue
            path = revision.doc_metadata.get(SOURCE_PATH)
            if isinstance(path, str) and path != doc.metadata[SOURCE_PATH]:
                others[doc.doc_id] = path
        return others

    def _upsert(self, docs: Sequence[NewDoc]) -> Iterator[Outcome]:
        """Upsert all at once; if that fails, one by one, so that only the document at fault fails."""
        try:
            yield Outcome(self.documents.upsert(docs))
        except ABORTING_ERRORS:
            raise
        except ServiceError as error:
            if len(docs) == 1:
                yield Outcome(failed=(Failure(docs[0].doc_id, str(error)),))
                return
            for doc in docs:
                yield from self._upsert([doc])


def _as_text(path: Path) -> str:
    """A name need not be valid UTF-8, and what is stored has to be."""
    return unicodedata.normalize("NFC", os.fsencode(path).decode(errors="replace"))
