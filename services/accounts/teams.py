"""Creates, changes and lists teams and their projects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from database.dialects import insert_or_ignore
from database.engine import Database
from domain import QUOTA_NAMES, Json
from errors import Conflict
from models import Project, Team
from services.index import namespaces
from services.index.auditing import record
from services.index.embedding import EmbeddingService
from services.index.names import check_new_name
from text.hashing import clean


class Unchanged(Enum):
    """Marks a field that a change leaves as it is, since None is a value."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True)
class TeamChange:
    """*quotas* has those to change, by their names in Amounts; None: the default."""

    system_prompt: str | Unchanged | None = UNCHANGED
    allow_system_prompt: bool | Unchanged = UNCHANGED
    quotas: Mapping[str, int | None] = field(default_factory=dict)

    def described(self) -> Json:
        """What is changed: of a system prompt only that it is."""
        changed: Json = {"quotas": dict(self.quotas)} if self.quotas else {}
        if not isinstance(self.allow_system_prompt, Unchanged):
            changed["allow_system_prompt"] = self.allow_system_prompt
        return changed if isinstance(self.system_prompt, Unchanged) else {**changed, "system_prompt": "changed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamInfo:
    tenant_id: str
    system_prompt: str | None
    allow_system_prompt: bool
    quotas: Mapping[str, int | None]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectInfo:
    tenant_id: str
    namespace: str
    embedding_version: str
    live_docs: int
    live_chunks: int
    created_at: datetime


@dataclass(frozen=True)
class AccountService:
    database: Database
    embedding: EmbeddingService
    name_chars: int

    def create_team(self, name: str, *, system_prompt: str | None = None, allow_system_prompt: bool = True) -> TeamInfo:
        check_new_name("tenant_id", name, self.name_chars)
        values = {
            "name": name,
            "system_prompt": _prompt(system_prompt),
            "allow_system_prompt": allow_system_prompt,
        }
        with self.database.write() as session:
            team: Team | None = session.scalar(insert_or_ignore(session, Team).values(**values).returning(Team))
            if team is None:
                raise Conflict(f"There is a team {name!r} already.", param="tenant_id")
            record(session, "team.created", tenant_id=name, object=name)
        return _team(team)

    def change_team(self, name: str, change: TeamChange) -> TeamInfo:
        with self.database.write() as session:
            team = namespaces.require_team(session, name, for_update=True)
            if not isinstance(change.system_prompt, Unchanged):
                team.system_prompt = _prompt(change.system_prompt)
            if not isinstance(change.allow_system_prompt, Unchanged):
                team.allow_system_prompt = change.allow_system_prompt
            if change.quotas:
                _set_quotas(session, team, change.quotas)
            record(session, "team.changed", tenant_id=name, object=name, **change.described())
            return _team(team)

    def team(self, name: str) -> TeamInfo:
        with self.database.read() as session:
            return _team(namespaces.require_team(session, name))

    def teams(self, *, limit: int, after: str | None = None, only: str | None = None) -> list[TeamInfo]:
        """Returns at most *limit* teams by name, starting after *after*; or only the one named *only*."""
        query = select(Team).where(Team.name > (after or ""), Team.erased_at.is_(None))
        if only is not None:
            query = query.where(Team.name == only)
        with self.database.read() as session:
            return [_team(row) for row in session.scalars(query.order_by(Team.name).limit(limit))]

    def create_project(self, team_name: str, namespace: str) -> ProjectInfo:
        """Create an empty namespace under this process's embedding version, loading its model."""
        check_new_name("namespace", namespace, self.name_chars)
        with self.database.read() as session:
            namespaces.require_team(session, team_name)
            if namespaces.find(session, team_name, namespace) is not None:
                raise Conflict(f"There is a namespace {namespace!r} already.", param="namespace")
        version = self.embedding.version
        dimension = self.embedding.embedder(version).dimension
        project = namespaces.create(self.database, team_name, namespace, embedding_version=version, dimension=dimension)
        return _project(team_name, project)

    def projects(self, team_name: str, *, limit: int, after: str | None = None) -> list[ProjectInfo]:
        """Returns at most *limit* of the team's projects by name, starting after *after*."""
        with self.database.read() as session:
            team = namespaces.require_team(session, team_name)
            query = select(Project).where(
                Project.team_id == team.id, Project.name > (after or ""), namespaces.is_listed()
            )
            return [_project(team_name, row) for row in session.scalars(query.order_by(Project.name).limit(limit))]

    def project(self, team_name: str, namespace: str) -> ProjectInfo:
        """Raises NotFound."""
        with self.database.read() as session:
            return _project(team_name, namespaces.require(session, team_name, namespace))

    def all_projects(self, team_name: str | None, *, limit: int) -> list[ProjectInfo]:
        """Returns at most *limit* namespaces by name, of one team, which need not exist, or of all."""
        query = select(Team.name, Project).join(Project, Project.team_id == Team.id).where(Project.erased_at.is_(None))
        if team_name is not None:
            query = query.where(Team.name == team_name)
        with self.database.read() as session:
            return [_project(*row) for row in session.execute(query.order_by(Team.name, Project.name).limit(limit))]


def _set_quotas(session: Session, team: Team, quotas: Mapping[str, int | None]) -> None:
    """In the rows of its namespaces too, where writers look. The team's row is locked, so none is being created."""
    for name, quota in quotas.items():
        setattr(team, f"quota_{name}", quota)
    of_team = update(Project).where(Project.team_id == team.id)
    session.execute(of_team.values(has_quotas=team.has_quotas), execution_options={"synchronize_session": False})


def _team(row: Team) -> TeamInfo:
    return TeamInfo(
        tenant_id=row.name,
        system_prompt=row.system_prompt,
        allow_system_prompt=row.allow_system_prompt,
        quotas={name: getattr(row, f"quota_{name}") for name in QUOTA_NAMES},
        created_at=row.created_at,
    )


def _project(tenant_id: str, row: Project) -> ProjectInfo:
    return ProjectInfo(
        tenant_id=tenant_id,
        namespace=row.name,
        embedding_version=row.embedding_version,
        live_docs=row.live_docs,
        live_chunks=row.live_chunks,
        created_at=row.created_at,
    )


def _prompt(text: str | None) -> str | None:
    """Returns the cleaned prompt; None if it is empty."""
    return clean(text).strip() or None if text else None
