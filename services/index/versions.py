"""Lists embedding versions with their usage, and frees the names of unused ones."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, CursorResult, and_, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from database.engine import Database
from engines.vectors import graphs
from errors import Conflict, NotFound
from job_queue import FINISHED
from models import Embedding, EmbeddingVersion, IndexRow, IndexVersion, Job, Project, Team, VectorRow
from services.index.auditing import record
from services.index.installation import choose, chosen_version
from services.index.publishing import REBUILD


@dataclass(frozen=True, slots=True)
class VersionUsage:
    """*namespaces* are served or indexed under it; *jobs* that have not ended re-embed others to it.

    *is_chosen*: it is the installation's.
    """

    row: EmbeddingVersion
    namespaces: int
    jobs: int
    is_chosen: bool


@dataclass(frozen=True)
class VersionService:
    """*own_version* is the one that this process is set to."""

    database: Database
    own_version: str

    def list_usage(self) -> list[VersionUsage]:
        """Returns all versions, oldest first."""
        with self.database.read() as session:
            rows = session.scalars(select(EmbeddingVersion).order_by(EmbeddingVersion.created_at)).all()
            return [_usage(session, row) for row in rows]

    def use(self, name: str) -> None:
        """Make it the installation's. Running processes keep theirs. Raises NotFound."""
        choose(self.database, name)

    def free(self, name: str) -> int:
        """Delete the version and its vectors in one transaction. Returns how many vectors there were.

        Raises NotFound, and Conflict if it is in use. A version that comes into use meanwhile loses only its HNSW
        index in Postgres, which its next rebuild creates again.
        """
        if name == self.own_version:
            raise Conflict(f"{name!r} is the EMBEDDING_VERSION that is set here: set another one first.", param="name")
        with self.database.read() as session:
            row = _unused(session, name)
        if self.database.file is None:
            graphs.drop(self.database, name, row.dimension)
        with self.database.write() as session:
            _unused(session, name, is_locked=True)
            deleted = self._delete_vectors(session, name)
            session.execute(delete(IndexRow).where(IndexRow.embedding_version == name))
            session.execute(delete(EmbeddingVersion).where(EmbeddingVersion.name == name))
            record(session, "embedding_version.freed", object=name, vectors=deleted)
        return deleted

    def _delete_vectors(self, session: Session, name: str) -> int:
        """Delete team by team, in key order. On Postgres also pgvector's rows, whichever store is configured."""
        deleted = 0
        for team_id in session.scalars(select(Team.id)).all():
            result = session.execute(
                delete(Embedding).where(Embedding.team_id == team_id, Embedding.embedding_version == name)
            )
            assert isinstance(result, CursorResult)
            deleted += result.rowcount
            if self.database.file is None:
                session.execute(
                    delete(VectorRow).where(VectorRow.team_id == team_id, VectorRow.embedding_version == name)
                )
        return deleted


def _usage(session: Session, row: EmbeddingVersion) -> VersionUsage:
    namespaces = select(func.count()).select_from(Project).where(_is_indexed_under(row.name))
    moves = and_(Job.dedupe_key == f"{REBUILD}:{row.name}", Job.status.not_in(FINISHED))
    jobs = select(func.count()).select_from(Job).where(moves)
    chosen = chosen_version(session)
    is_chosen = chosen is not None and chosen.name == row.name
    return VersionUsage(row, session.scalar(namespaces) or 0, session.scalar(jobs) or 0, is_chosen)


def _is_indexed_under(version: str) -> ColumnElement[bool]:
    """Also a namespace that has an index version of it, which may not serve."""
    in_project = and_(IndexVersion.team_id == Project.team_id, IndexVersion.project_id == Project.id)
    return or_(
        Project.embedding_version == version, exists().where(in_project, IndexVersion.embedding_version == version)
    )


def _unused(session: Session, name: str, *, is_locked: bool = False) -> EmbeddingVersion:
    """With *is_locked* the version stays unused until the transaction ends: whatever would refer to the row waits."""
    row = session.get(EmbeddingVersion, name, with_for_update=is_locked)
    if row is None:
        raise NotFound(f"There is no embedding version {name!r}: see manage.py versions.", param="name")
    usage = _usage(session, row)
    if usage.is_chosen:
        raise Conflict(f"Version {name!r} is the installation's: choose another first (use-version).", param="name")
    if usage.namespaces or usage.jobs:
        raise Conflict(
            f"Version {name!r} is used by {usage.namespaces} namespaces, and {usage.jobs} rebuilds move others to it. "
            "Move the namespaces to another version first (manage.py rebuild --reembed --new-embedding-version) and "
            "delete their index versions of it, and let the rebuilds end or cancel them.",
            param="name",
        )
    return row
