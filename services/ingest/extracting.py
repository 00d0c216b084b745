"""The worker's first step with a raw file: extracts the text and chunks of its revision, and stores them in one commit.

The chunks are not yet embedded, so not yet live: the revision stays pending and is processed like any other.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass

from sqlalchemy import insert
from sqlalchemy.orm import Session

from database.engine import Database
from domain import Json
from engines.blobs.base import BlobStore
from engines.extraction.extractor import Extractor
from errors import Overtaken
from job_lease import Lease
from models import Chunk, Doc, DocStatus, File, Project, Revision, RevisionStatus, utc_now
from scratch import Scratch
from services.index.embedding import EmbeddingService
from services.index.publishing import Publisher
from services.ingest.drafts import Draft, DraftMaker, NewDoc, TokenCounter, draft_of_file
from services.ingest.hosting import HostingCounter
from services.ingest.rows import chunk_rows
from text.extract.base import ExtractedText
from text.hashing import utf8_length


@dataclass(frozen=True)
class ExtractingService:
    database: Database
    blobs: BlobStore
    extractor: Extractor
    embedding: EmbeddingService
    publisher: Publisher
    draft: DraftMaker

    def extract(self, lease: Lease, pending: Revision, *, progress: int, result: Json) -> None:
        """Store the pending revision's text and chunks. Raises Unreadable with a message for the sender.

        Stores nothing if the namespace's model was changed meanwhile: the next call does; or if it was erased.
        """
        with lease.step(progress, result) as session:
            _mark_processing(session, pending)
        with self.database.read() as session:
            project = session.get_one(Project, (pending.team_id, pending.project_id))
            file = session.get(File, _key(pending))
        if file is None:
            return
        extracted = self._read(lease, pending, file)
        model = HostingCounter(self.embedding.embedder(project.embedding_version), lease)
        draft = self._cut(pending, file, extracted, model)
        with suppress(Overtaken), lease.step(progress, result) as session:
            self._write(session, project, pending, draft)

    def _read(self, lease: Lease, pending: Revision, file: File) -> ExtractedText:
        assert pending.blob_uri is not None
        with Scratch() as folder:
            path = folder / "file"
            with open(path, "wb") as copy:
                for piece in self.blobs.read(pending.blob_uri):
                    copy.write(piece)
                    lease.check()
            return self.extractor.extract(
                path, file.filename, declared=file.read_options["declared"], check=lease.host_guests
            )

    def _cut(self, pending: Revision, file: File, extracted: ExtractedText, model: TokenCounter) -> Draft:
        options = file.read_options
        doc = NewDoc(
            tenant_id="",
            namespace="",
            doc_id=pending.doc_id,
            text="",
            metadata=pending.doc_metadata,
            title=pending.title,
            chunk_strategy=options["chunk_strategy"],
            chunk_overlap=options["chunk_overlap"],
            enrich_context=options["enrich_context"],
        )
        return draft_of_file(doc, extracted, model, self.draft)

    def _write(self, session: Session, project: Project, pending: Revision, draft: Draft) -> None:
        current, first_id = self.publisher.next_numbers(session, project, chunks=len(draft.spans), publications=0)
        revision = session.get(Revision, _key(pending))
        if (
            revision is None
            or revision.status != RevisionStatus.PENDING
            or current.embedding_version != project.embedding_version
        ):
            raise Overtaken  # the rollback returns the numbers, and the next step reads the current state
        revision.text, revision.chunk_count, revision.first_id = draft.doc.text, len(draft.spans), first_id
        revision.title, revision.mime_type = revision.title or draft.doc.title, draft.doc.mime_type
        file = session.get_one(File, _key(pending))
        file.warnings = [asdict(caveat) for caveat in draft.warnings]
        revision.byte_count = file.byte_count + utf8_length(draft.doc.text)
        session.flush()
        session.execute(insert(Chunk), chunk_rows(draft, revision, first_id=first_id, live_seq=None))


def _mark_processing(session: Session, pending: Revision) -> None:
    doc = session.get(Doc, (pending.team_id, pending.project_id, pending.doc_id), with_for_update=True)
    if doc is not None and doc.revision == pending.revision and doc.status == DocStatus.UPLOADED:
        doc.status, doc.updated_at = DocStatus.PROCESSING, utc_now()


def _key(revision: Revision) -> tuple[int, int, str, int]:
    return revision.team_id, revision.project_id, revision.doc_id, revision.revision
