"""Verifies that the database, the vector store and the keywords agree on every partition. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import and_, exists, func, select
from sqlalchemy.orm import Session

from database.engine import Database
from engines.keywords.base import KeywordStore
from engines.vectors.base import VectorStore
from models import Chunk, Doc, Project, Revision, RevisionStatus, Team
from services.index.mirroring import behind
from services.index.namespaces import is_listed
from snapshot import Snapshot, has_vector, is_live, live_vectors, read_snapshot, version_snapshot


@dataclass(frozen=True, slots=True)
class Verdict:
    """A partition with its counts and problems; without problems it is consistent.

    *unwritten* is what a rebuild still has to write, as after a restore without index files: no damage. *is_serving* is
    false of an index version beside the one that serves.
    """

    tenant_id: str
    namespace: str
    embedding_version: str
    live_docs: int
    live_chunks: int
    checkpoint_chunks: int
    tail_changes: int
    problems: list[str] = field(default_factory=list)
    unwritten: list[str] = field(default_factory=list)
    is_serving: bool = True


@dataclass(frozen=True)
class VerifyingService:
    database: Database
    vectors: VectorStore
    keywords: KeywordStore

    def verify(self) -> Iterator[Verdict]:
        """Yields a verdict per namespace and version that it is indexed under; those of a namespace of one snapshot."""
        with self.database.read() as session:
            query = select(Team.name, Project.name).join(Project, Project.team_id == Team.id)
            names = session.execute(query.where(is_listed()).order_by(Team.name, Project.name)).all()
        for tenant_id, namespace in names:
            with self.database.read() as session:
                current = read_snapshot(session, tenant_id, namespace)
                if current is None:
                    yield Verdict(tenant_id, namespace, "?", 0, 0, 0, 0, ["There is no index row for this namespace."])
                    continue
                ways = [(current.namespace.id, version) for version in current.namespace.indexed_versions]
                ways += [(mirror.id, mirror.version) for mirror in current.namespace.following_mirrors]
                for chunks_of, version in ways:
                    beside = version_snapshot(session, current, version, chunks_of=chunks_of)
                    yield self._verdict(session, beside, tenant_id, is_serving=beside is current)

    def _verdict(self, session: Session, current: Snapshot, tenant_id: str, *, is_serving: bool) -> Verdict:
        project, index = current.project, current.index
        live = np.array(sorted(session.scalars(_live(project, Chunk.faiss_id))), np.int64)
        problems = list(self.vectors.problems(session, current, live))
        problems += self.keywords.problems(session, current, live)
        problems += _vector_problems(session, current)
        problems += _counter_problems(session, project, len(live))
        if current.owner is not None:
            problems += _mirror_problems(session, current.owner, project)
        return Verdict(
            tenant_id=tenant_id,
            namespace=current.namespace.name,
            embedding_version=index.embedding_version,
            live_docs=project.live_docs,
            live_chunks=len(live),
            checkpoint_chunks=index.ntotal if index.faiss_path else 0,
            tail_changes=index.changes,
            problems=problems,
            is_serving=is_serving,
            unwritten=[*self.vectors.unwritten(session, current), *self.keywords.unwritten(current)],
        )


def _vector_problems(session: Session, current: Snapshot) -> Iterator[str]:
    lacking = _live(current.project, func.count()).where(~has_vector(current.key.embedding_version))
    if count := session.scalar(lacking):
        yield f"{count} live chunks have no vector."
    ids, vectors = live_vectors(session, current)
    lengths = np.linalg.norm(vectors, axis=1)
    if len(ids) and not np.allclose(lengths, 1, atol=1e-3):
        yield f"{int((np.abs(lengths - 1) > 1e-3).sum())} vectors in the database do not have length 1."


def _counter_problems(session: Session, project: Project, live_chunks: int) -> Iterator[str]:
    if project.live_chunks != live_chunks:
        yield f"The namespace counts {project.live_chunks} live chunks, but there are {live_chunks}."
    live_docs = select(func.count()).where(
        Doc.team_id == project.team_id, Doc.project_id == project.id, Doc.live_revision.is_not(None)
    )
    if (docs := session.scalar(live_docs)) != project.live_docs:
        yield f"The namespace counts {project.live_docs} live documents, but there are {docs}."
    live_bytes = select(func.coalesce(func.sum(Revision.byte_count), 0)).where(
        Revision.team_id == project.team_id, Revision.project_id == project.id, Revision.status == RevisionStatus.LIVE
    )
    if (size := session.scalar(live_bytes)) != project.live_bytes:
        yield f"The namespace counts {project.live_bytes} bytes of live documents, but there are {size}."
    of_live_revision = and_(
        Doc.team_id == Chunk.team_id,
        Doc.project_id == Chunk.project_id,
        Doc.doc_id == Chunk.doc_id,
        Doc.live_revision == Chunk.revision,
        Doc.deleted_at.is_(None),
    )
    strays = _live(project, func.count()).where(~exists().where(of_live_revision))
    if count := session.scalar(strays):
        yield f"{count} live chunks do not belong to the live revision of their document."


def _mirror_problems(session: Session, namespace: Project, mirror: Project) -> Iterator[str]:
    lacking = select(func.count()).select_from(behind(namespace, mirror.id).subquery())
    if count := session.scalar(lacking):
        yield f"{count} documents are not in the chunks of another chunking as they are now."
    if mirror.live_docs != namespace.live_docs:
        yield f"Chunks of another chunking have {mirror.live_docs} documents, and the namespace {namespace.live_docs}."


def _live(project: Project, column: Any) -> Any:
    return select(column).where(Chunk.team_id == project.team_id, Chunk.project_id == project.id, is_live(project.seq))
