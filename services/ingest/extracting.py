"""The worker's first step with a raw file: from the blob to the text and the chunks of its revision, in one commit.

What is not embedded yet is seen by nobody: the revision goes on waiting, and takes the way of any other from here.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import insert
from sqlalchemy.orm import Session

from database.engine import Database
from domain import Json
from engines.blobs.base import BlobStore
from engines.extraction.extractor import Extractor
from errors import Invalid, Overtaken, Unreadable
from job_lease import Lease
from models import Chunk, Doc, DocStatus, File, Project, Revision, RevisionStatus, utc_now
from services.index.embedding import EmbeddingService
from services.index.publishing import Publisher
from services.ingest.drafts import AUTO, Draft, DraftMaker, NewDoc
from services.ingest.rows import chunk_rows
from text.extract.base import ExtractedText


@dataclass(frozen=True)
class ExtractingService:
    database: Database
    blobs: BlobStore
    extractor: Extractor
    embedding: EmbeddingService
    publisher: Publisher
    draft: DraftMaker

    def extract(self, lease: Lease, waiting: Revision, *, progress: int, result: Json) -> None:
        """Give the waiting revision its text and chunks. Raises Unreadable, in words for whoever sent the file.

        A namespace whose model was changed meanwhile is left for the next call.
        """
        with lease.step(progress, result) as session:
            _say_processing(session, waiting)
        with self.database.read() as session:
            project = session.get_one(Project, (waiting.team_id, waiting.project_id))
            file = session.get_one(File, _key(waiting))
        found = self._read(lease, waiting, file)
        cut = self._cut(waiting, file, found, project)
        if not cut.spans:
            raise Unreadable("It has no text: there is nothing to search for in it.")
        with suppress(Overtaken), lease.step(progress, result) as session:
            self._write(session, project, waiting, cut, found)

    def _read(self, lease: Lease, waiting: Revision, file: File) -> ExtractedText:
        assert waiting.blob_uri is not None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "file")
            with open(path, "wb") as copy:
                for piece in self.blobs.read(waiting.blob_uri):
                    copy.write(piece)
                    lease.check()
            return self.extractor.extract(path, file.filename, declared=file.asked["declared"], check=lease.check)

    def _cut(self, waiting: Revision, file: File, found: ExtractedText, project: Project) -> Draft:
        """By the model of the namespace. What the sender asked for goes before what fits the file."""
        asked = file.asked
        doc = NewDoc(
            tenant_id="",
            namespace="",
            doc_id=waiting.doc_id,
            text=found.text,
            metadata=waiting.doc_metadata,
            title=waiting.title or found.title,
            chunk_strategy=found.strategy if asked["chunk_strategy"] == AUTO else asked["chunk_strategy"],
            chunk_overlap=asked["chunk_overlap"],
            enrich_context=asked["enrich_context"],
        )
        embedder = self.embedding.embedder(project.embedding_version)
        try:
            return self.draft(doc, embedder)
        except Invalid as error:  # which the job would end with, and all of its documents
            raise Unreadable(str(error)) from error

    def _write(self, session: Session, project: Project, waiting: Revision, cut: Draft, found: ExtractedText) -> None:
        current, first_id = self.publisher.next_numbers(session, project, chunks=len(cut.spans), publications=0)
        revision = session.get_one(Revision, _key(waiting))
        if revision.status != RevisionStatus.PENDING or current.embedding_version != project.embedding_version:
            raise Overtaken  # the numbers go back, and the next step sees how things are now
        revision.text, revision.chunk_count, revision.first_id = cut.doc.text, len(cut.spans), first_id
        revision.title, revision.mime_type = revision.title or found.title, found.mime_type
        session.get_one(File, _key(waiting)).warnings = [asdict(each) for each in (*found.warnings, *cut.warnings)]
        session.flush()
        session.execute(insert(Chunk), chunk_rows(cut, revision, first_id=first_id, live_seq=None))


def _say_processing(session: Session, waiting: Revision) -> None:
    doc = session.get_one(Doc, (waiting.team_id, waiting.project_id, waiting.doc_id), with_for_update=True)
    if doc.revision == waiting.revision and doc.status == DocStatus.UPLOADED:
        doc.status, doc.updated_at = DocStatus.PROCESSING, utc_now()


def _key(revision: Revision) -> tuple[int, int, str, int]:
    return revision.team_id, revision.project_id, revision.doc_id, revision.revision
