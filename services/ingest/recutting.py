"""Cuts documents for the mirrors of their namespace, each in its own way; and embeds what that lacks.

Documents that came in chunks of their own keep them: only their sender knows how to cut them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database
from domain import Json, Mirror
from errors import Invalid, Overtaken, Unreadable
from job_lease import Lease
from models import Chunk, Project, Revision, RevisionStatus
from services.index.lagging import CANNOT_EMBED, Lagging
from services.index.pacing import Pace
from services.index.stored_vectors import require_stored
from services.ingest.drafts import Draft, DraftMaker, NewDoc, TokenCounter
from services.ingest.hosting import HostingCounter
from services.ingest.mirrored import MirroredDocs
from services.ingest.rows import chunk_values

if TYPE_CHECKING:
    from services.index.embedding import EmbeddingService

_COPIED = ("chunk_index", "text", "header", "section", "page_start", "page_end", "char_start", "char_end")


@dataclass(frozen=True)
class Recutting:
    database: Database
    embedding: EmbeddingService
    lagging: Lagging
    draft: DraftMaker

    def of_drafts(self, mirror: Mirror, docs: Sequence[NewDoc], drafts: Sequence[Draft]) -> MirroredDocs:
        """Raises Invalid for a document that comes to too many chunks, and like embedder()."""
        if not drafts:
            return MirroredDocs(mirror, {})
        model = self.embedding.embedder(mirror.version)
        pairs = zip(docs, drafts, strict=True)
        cut = {doc.doc_id: chunk_values(draft if doc.chunks else self._cut(doc, mirror, model)) for doc, draft in pairs}
        return MirroredDocs(mirror, cut)

    def of_revisions(self, lease: Lease, mirror: Mirror, revisions: Sequence[Revision]) -> MirroredDocs:
        """As of_drafts(), of revisions of the namespace with their texts. For no transaction: guests are hosted."""
        with self.database.read() as session:
            own = {each.doc_id: _own_chunks(session, each) for each in revisions if each.has_own_chunks}
        model = HostingCounter(self.embedding.embedder(mirror.version), lease)
        cut = {
            each.doc_id: chunk_values(self._cut(_document_of(each), mirror, model))
            for each in revisions
            if not each.has_own_chunks
        }
        return MirroredDocs(mirror, {**own, **cut})

    def prepare(
        self, lease: Lease, project: Project, pending: Sequence[Revision], pace: Pace, *, require: Callable[[int], None]
    ) -> list[MirroredDocs] | None:
        """Cut pending revisions for the mirrors that follow, and embed what they lack; *require* checks quotas.

        The vectors are stored with the chunks only, so that an erasure meanwhile leaves none behind. Returns None if
        the state has changed; a mirror that does not serve and cannot be written lags from now on.
        """
        mirrored: list[MirroredDocs] = []
        for mirror in project.following_mirrors:
            try:
                mirrored.append(self._prepare(lease, project, mirror, pending, pace, require=require))
            except Overtaken:
                return None
            except (*CANNOT_EMBED, Invalid) as error:
                if mirror.id != project.serving_mirror:
                    self.lagging.stop_mirroring(project, mirror.id, str(error))
                    return None
                raise (Unreadable(str(error)) if isinstance(error, Invalid) else error) from error
        return mirrored

    def store(self, session: Session, project: Project, mirrored: MirroredDocs, *, is_alone: bool) -> None:
        """Store the vectors in the transaction of the publication. Raises Overtaken if one was erased meanwhile."""
        version, vectors = mirrored.mirror.version, mirrored.vectors
        self.embedding.store(session, project.team_id, version, vectors)
        hashes = mirrored.texts.keys()
        require_stored(session, project.team_id, version, hashes - vectors.keys() if is_alone else hashes)

    def _prepare(
        self,
        lease: Lease,
        project: Project,
        mirror: Mirror,
        pending: Sequence[Revision],
        pace: Pace,
        *,
        require: Callable[[int], None],
    ) -> MirroredDocs:
        with self.database.read() as session:
            revisions = _with_texts(session, project, pending)
        if len(revisions) < len(pending):
            raise Overtaken
        cut = self.of_revisions(lease, mirror, revisions)
        texts = cut.texts
        with self.database.read() as session:
            missing = self.embedding.missing(session, project.team_id, mirror.version, texts)
        require(len(missing))
        vectors: dict[bytes, bytes] = {}
        for step in batched(sorted(missing), pace.texts_per_step):
            with pace.measured(len(step)):
                vectors |= self.embedding.embed(mirror.version, {key: texts[key] for key in step})
            lease.give_way()
        return replace(cut, vectors=vectors, computed=len(vectors))

    def _cut(self, doc: NewDoc, mirror: Mirror, model: TokenCounter) -> Draft:
        return self.draft(replace(doc, file=None, recipe=None, **mirror.chunking), model)


def _document_of(revision: Revision) -> NewDoc:
    return NewDoc("", "", revision.doc_id, revision.text, revision.doc_metadata, title=revision.title)


def _with_texts(session: Session, project: Project, pending: Sequence[Revision]) -> Sequence[Revision]:
    """Those of the revisions that are pending still, with their texts."""
    of_project = and_(Revision.team_id == project.team_id, Revision.project_id == project.id)
    numbers = {(each.doc_id, each.revision) for each in pending}
    is_listed = and_(Revision.doc_id.in_([doc_id for doc_id, _ in numbers]), Revision.status == RevisionStatus.PENDING)
    revisions = session.scalars(select(Revision).where(of_project, is_listed)).all()
    return [each for each in revisions if (each.doc_id, each.revision) in numbers]


def _own_chunks(session: Session, revision: Revision) -> list[Json]:
    columns = (*_COPIED, "token_count", "embed_hash", "chunk_metadata")
    of_revision = and_(
        Chunk.team_id == revision.team_id,
        Chunk.project_id == revision.project_id,
        Chunk.doc_id == revision.doc_id,
        Chunk.revision == revision.revision,
    )
    query = select(*(getattr(Chunk, name) for name in columns)).where(of_revision).order_by(Chunk.chunk_index)
    return [dict(zip(columns, row, strict=True)) for row in session.execute(query)]
