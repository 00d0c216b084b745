"""Embeds what accepted documents lack, for the versions that do not serve before the one that does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from database.engine import Database
from database.prepared import PreparedStatement, is_among
from domain import Json
from job_lease import Lease
from models import Chunk, Project, Revision
from services.index.counting import count_ingest
from services.index.embedding import EmbeddingService
from services.index.lagging import CANNOT_EMBED, Lagging
from services.index.pacing import Pace
from services.index.stored_vectors import of_chunks
from snapshot import has_vector
from text.enrich import embedded_text


@dataclass(frozen=True)
class Following:
    database: Database
    embedding: EmbeddingService
    lagging: Lagging

    def embed(
        self, lease: Lease, project: Project, pending: Sequence[Revision], pace: Pace, *, progress: int, result: Json
    ) -> bool:
        """Embed the documents, step by step, for all versions but the one that serves.

        Returns False if the state has changed meanwhile. A version that cannot be embedded lags from now on.
        """
        for version in project.other_versions or ():
            missing = self.missing(project, version, pending)
            while missing:
                step, missing = dict(missing[: pace.texts_per_step]), missing[pace.texts_per_step :]
                vectors = self._vectors(project, version, step)
                if vectors is None:
                    return False
                with lease.step(progress, result) as session:
                    kept = of_chunks(session, project.team_id, vectors)
                    self.embedding.store(session, project.team_id, version, kept)
                    count_ingest(session, project, embedded=len(vectors))
                lease.give_way()
        return True

    def missing(self, project: Project, version: str, pending: Sequence[Revision]) -> list[tuple[bytes, int]]:
        """Returns the hashes of the texts to embed, each once, with the number of a chunk that has the text."""
        key = {"the_team": project.team_id, "the_project": project.id, "the_version": version}
        newest = {(revision.doc_id, revision.revision) for revision in pending}
        with self.database.read() as session:
            rows = _MISSING.rows(session, {**key, "doc_ids": [doc_id for doc_id, _ in newest]})
        missing: dict[bytes, int] = {}
        for faiss_id, embed_hash, *revision in sorted(rows):
            if tuple(revision) in newest:
                missing.setdefault(embed_hash, faiss_id)
        return list(missing.items())

    def _vectors(self, project: Project, version: str, step: dict[bytes, int]) -> dict[bytes, bytes] | None:
        with self.database.read() as session:
            texts = texts_of(session, project, list(step.values()))
        if texts.keys() != step.keys():
            return None
        try:
            return self.embedding.embed(version, texts)
        except CANNOT_EMBED as error:
            self.lagging.stop_following(project, version, str(error))
            return None


def texts_of(session: Session, project: Project, numbers: Sequence[int]) -> dict[bytes, str]:
    """Returns the texts to embed for the chunks with these numbers, by their hashes."""
    query = select(Chunk.embed_hash, Chunk.text, Chunk.header).where(
        Chunk.team_id == project.team_id, Chunk.project_id == project.id, Chunk.faiss_id.in_(numbers)
    )
    return {key: embedded_text(text, head) for key, text, head in session.execute(query)}


_MISSING = PreparedStatement(
    select(Chunk.faiss_id, Chunk.embed_hash, Chunk.doc_id, Chunk.revision).where(
        Chunk.team_id == bindparam("the_team"),
        Chunk.project_id == bindparam("the_project"),
        is_among(Chunk.doc_id, "doc_ids"),
        (Chunk.live_seq + 0).is_(None),
        ~has_vector(bindparam("the_version")),
    )
)
