"""Creates, changes and lists teams and their projects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.dialects import insert_or_ignore
from database.engine import Database
from errors import Conflict, NotFound
from models import Project, Team
from services.index import namespaces
from services.index.embedding import EmbeddingService
from services.ingest.checking import check_new_name
from text.hashing import clean


class Unchanged(Enum):
    """Marks a field that a change leaves as it is, since None is a value."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True)
class TeamChange:
    system_prompt: str | Unchanged | None = UNCHANGED
    allow_system_prompt: bool | Unchanged = UNCHANGED


@dataclass(frozen=True)
class AccountService:
    database: Database
    embedding: EmbeddingService
    name_chars: int

    def create_team(self, name: str, *, system_prompt: str | None = None, allow_system_prompt: bool = True) -> Team:
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
        return team

    def change_team(self, name: str, change: TeamChange) -> Team:
        with self.database.write() as session:
            team = require_team(session, name)
            if not isinstance(change.system_prompt, Unchanged):
                team.system_prompt = _prompt(change.system_prompt)
            if not isinstance(change.allow_system_prompt, Unchanged):
                team.allow_system_prompt = change.allow_system_prompt
            return team

    def team(self, name: str) -> Team:
        with self.database.read() as session:
            return require_team(session, name)

    def teams(self, *, limit: int, after: str | None = None, only: str | None = None) -> list[Team]:
        """Returns at most *limit* teams by name, starting after *after*; or only the one named *only*."""
        query = select(Team).where(Team.name > (after or ""))
        if only is not None:
            query = query.where(Team.name == only)
        with self.database.read() as session:
            return list(session.scalars(query.order_by(Team.name).limit(limit)))

    def create_project(self, team_name: str, namespace: str) -> Project:
        """Create an empty namespace under this process's embedding version, loading its model."""
        check_new_name("namespace", namespace, self.name_chars)
        with self.database.read() as session:
            require_team(session, team_name)
            if namespaces.find(session, team_name, namespace) is not None:
                raise Conflict(f"There is a namespace {namespace!r} already.", param="namespace")
        version = self.embedding.version
        dimension = self.embedding.embedder(version).dimension
        return namespaces.create(self.database, team_name, namespace, embedding_version=version, dimension=dimension)

    def projects(self, team_name: str, *, limit: int, after: str | None = None) -> list[Project]:
        """Returns at most *limit* of the team's projects by name, starting after *after*."""
        with self.database.read() as session:
            team = require_team(session, team_name)
            query = select(Project).where(Project.team_id == team.id, Project.name > (after or ""))
            return list(session.scalars(query.order_by(Project.name).limit(limit)))


def require_team(session: Session, name: str) -> Team:
    """Raises NotFound, with a message that does not reveal whether the team exists."""
    team = session.scalar(select(Team).where(Team.name == name))
    if team is None:
        raise NotFound("There is no such team: check tenant_id.", param="tenant_id")
    return team


def _prompt(text: str | None) -> str | None:
    """Returns the cleaned prompt; None if it is empty."""
    return clean(text).strip() or None if text else None
