"""/v1/teams: who there is, and the namespaces of each. In URLs a team goes by its name, the tenant_id."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import BaseModel, Field, model_validator

from api.access import needs
from api.dependencies import After, Caller, InRuntime, Limit, RequestBody, TeamInPath
from api.responses import EMBEDDING, raises
from api.routing import WritingRoute
from api.strings import Name, SystemPrompt
from domain import Scope
from errors import Conflict, NotFound
from models import Project, Team
from services.accounts.teams import TeamChange

router = APIRouter(prefix="/v1/teams", tags=["accounts"], route_class=WritingRoute)

FIRST = "What a language model is told first when this team asks"
ALLOW = "Whether a question may bring its own system_prompt"
Prompt = Annotated[SystemPrompt | None, Field(description=FIRST, examples=["Answer in one sentence."])]


class TeamIn(RequestBody):
    tenant_id: Name
    system_prompt: Prompt = None
    allow_system_prompt: bool = Field(True, description=ALLOW)


class TeamChangeIn(RequestBody):
    """What is left out stays as it is."""

    system_prompt: Prompt = None
    allow_system_prompt: bool = Field(default_factory=lambda: True, description=ALLOW)

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("Nothing is to be changed: send system_prompt, allow_system_prompt, or both.")
        return self


class TeamOut(BaseModel):
    tenant_id: str
    system_prompt: str | None
    allow_system_prompt: bool
    created_at: datetime


class TeamPage(BaseModel):
    data: list[TeamOut]
    has_more: bool
    next_cursor: str | None


class ProjectIn(RequestBody):
    namespace: Name


class ProjectOut(BaseModel):
    tenant_id: str
    namespace: str
    embedding_version: str
    live_docs: int
    live_chunks: int
    created_at: datetime


class ProjectPage(BaseModel):
    data: list[ProjectOut]
    has_more: bool
    next_cursor: str | None


@router.post("", status_code=201)
@needs(Scope.OPERATOR)
@raises(Conflict)
def create_team(body: TeamIn, runtime: InRuntime) -> TeamOut:
    return _team_out(
        runtime.accounts.teams.create_team(
            body.tenant_id, system_prompt=body.system_prompt, allow_system_prompt=body.allow_system_prompt
        )
    )


@router.get("")
@needs(Scope.ADMIN)
def list_teams(runtime: InRuntime, who: Caller, limit: Limit = 100, after: After = None) -> TeamPage:
    """All teams for an operator, their own for others; by tenant_id."""
    only = None if who.may(Scope.OPERATOR) else who.tenant_id
    found = runtime.accounts.teams.teams(limit=limit + 1, after=after, only=only)
    data = [_team_out(team) for team in found[:limit]]
    has_more = len(found) > limit
    return TeamPage(data=data, has_more=has_more, next_cursor=data[-1].tenant_id if has_more else None)


@router.get("/{tenant_id}")
@needs(Scope.ADMIN)
@raises(NotFound)
def get_team(tenant_id: TeamInPath, runtime: InRuntime) -> TeamOut:
    return _team_out(runtime.accounts.teams.team(tenant_id))


@router.patch("/{tenant_id}")
@needs(Scope.ADMIN)
@raises(NotFound)
def change_team(tenant_id: TeamInPath, body: TeamChangeIn, runtime: InRuntime) -> TeamOut:
    """A system_prompt that is null or empty leaves the team with the service's own."""
    return _team_out(runtime.accounts.teams.change_team(tenant_id, TeamChange(**body.model_dump(exclude_unset=True))))


@router.post("/{tenant_id}/projects", status_code=201)
@needs(Scope.ADMIN)
@raises(*EMBEDDING, NotFound, Conflict)
def create_project(tenant_id: TeamInPath, body: ProjectIn, runtime: InRuntime) -> ProjectOut:
    """An empty namespace, under the embedding version that this process runs."""
    return _project_out(tenant_id, runtime.accounts.teams.create_project(tenant_id, body.namespace))


@router.get("/{tenant_id}/projects")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def list_projects(tenant_id: TeamInPath, runtime: InRuntime, limit: Limit = 100, after: After = None) -> ProjectPage:
    """The team's namespaces, by name."""
    found = runtime.accounts.teams.projects(tenant_id, limit=limit + 1, after=after)
    data = [_project_out(tenant_id, project) for project in found[:limit]]
    has_more = len(found) > limit
    return ProjectPage(data=data, has_more=has_more, next_cursor=data[-1].namespace if has_more else None)


def _team_out(team: Team) -> TeamOut:
    return TeamOut(
        tenant_id=team.name,
        system_prompt=team.system_prompt,
        allow_system_prompt=team.allow_system_prompt,
        created_at=team.created_at,
    )


def _project_out(tenant_id: str, project: Project) -> ProjectOut:
    return ProjectOut(
        tenant_id=tenant_id,
        namespace=project.name,
        embedding_version=project.embedding_version,
        live_docs=project.live_docs,
        live_chunks=project.live_chunks,
        created_at=project.created_at,
    )
