"""Changes what is known of a document, without its content: nothing is cut or embedded, and filters see it at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session, defer
from sqlalchemy.orm.attributes import flag_modified

from database.engine import Database
from database.repeating import repeatable
from domain import Json
from models import Doc, Revision, utc_now
from services.index import namespaces
from services.index.announcing import record_indexed
from services.index.publishing import Publisher
from services.ingest.checking import check_metadata
from services.ingest.drafts import Limits
from services.ingest.rows import require_doc

MetadataChange = Callable[[Json], Json]
"""From the metadata of a revision to what it shall be."""


@dataclass(frozen=True)
class DescribingService:
    database: Database
    publisher: Publisher
    limits: Limits

    @repeatable
    def change_metadata(self, tenant_id: str, namespace: str, doc_id: str, change: MetadataChange) -> None:
        """Of the newest revision and of the live one, as one publication. Raises NotFound, Invalid and TooLarge."""
        self.database.refuse_when_nearly_full()
        with self.database.write() as session:
            project = namespaces.require(session, tenant_id, namespace)
            project, _ = self.publisher.next_numbers(session, project)
            current = require_doc(session, project, doc_id)
            now = utc_now()
            for revision in _shown(session, current.doc, current.revision):
                revision.doc_metadata = change(revision.doc_metadata)
                check_metadata(doc_id, revision.doc_metadata, self.limits, param="attributes")
                flag_modified(revision, "doc_metadata")  # to Python 1 and True are the same
                revision.accepted_seq = project.seq
                if revision.revision == current.doc.live_revision:
                    revision.published_seq, revision.published_at = project.seq, now
                    self.publisher.redescribe(session, project, revision)
                    record_indexed(session, project, [revision])
            current.doc.updated_at = now


def _shown(session: Session, doc: Doc, newest: Revision) -> list[Revision]:
    if doc.live_revision in (None, newest.revision):
        return [newest]
    key = (doc.team_id, doc.project_id, doc.doc_id, doc.live_revision)
    return [newest, session.get_one(Revision, key, options=[defer(Revision.text)])]
