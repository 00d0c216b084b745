"""/v1/teams: the teams and their namespaces. In URLs a team goes by its name, the tenant_id."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import Field, model_validator

from api.access import needs
from api.dependencies import After, Caller, InRuntime, Limit, NamespaceIfAny, NamespaceInPath, TeamInPath
from api.fields import RequestBody
from api.responses import EMBEDDING, raises, with_headers
from api.routing import WritingRoute
from api.strings import Name, SystemPrompt
from api.v1.common import ErasureStartedOut, Out, Page, Reason, actor, started
from domain import Scope
from errors import Conflict, Forbidden, NotFound
from services.accounts.teams import TeamChange
from services.operations.exporting import ExportOptions

router = APIRouter(prefix="/v1/teams", tags=["accounts"], route_class=WritingRoute)

SYSTEM_PROMPT = "The system prompt of this team's questions"
ALLOW = "Whether a question may bring its own system_prompt"
Prompt = Annotated[SystemPrompt | None, Field(description=SYSTEM_PROMPT, examples=["Answer in one sentence."])]


TeamQuota = Annotated[int | None, Field(ge=0, le=2**53)]
ZSTD = "application/zstd"
VECTORS = "With the vectors, so that an import embeds nothing; external ones are always there"
EXPORT: dict[int | str, dict[str, Any]] = {
    200: {"content": {ZSTD: {"schema": {"type": "string", "format": "binary"}}}, "description": "A .tar.zst"}
}


class TeamQuotasIn(RequestBody):
    """What is left out stays as it is; null: the service's default; 0: no quota."""

    documents: TeamQuota = None
    chunks: TeamQuota = None
    bytes: TeamQuota = None
    embedded_chunks_per_day: TeamQuota = None


class TeamIn(RequestBody):
    tenant_id: Name
    system_prompt: Prompt = None
    allow_system_prompt: bool = Field(True, description=ALLOW)


class TeamChangeIn(RequestBody):
    """A field that is left out stays as it is."""

    system_prompt: Prompt = None
    allow_system_prompt: bool = Field(default_factory=lambda: True, description=ALLOW)
    quotas: TeamQuotasIn = Field(default_factory=TeamQuotasIn, description="Its own quotas; only an operator sets them")

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("This changes nothing: send system_prompt, allow_system_prompt or quotas.")
        return self


class TeamQuotasOut(Out):
    """null: the service's default."""

    documents: int | None
    chunks: int | None
    bytes: int | None
    embedded_chunks_per_day: int | None


class TeamOut(Out):
    tenant_id: str
    system_prompt: str | None
    allow_system_prompt: bool
    quotas: TeamQuotasOut
    created_at: datetime


class TeamPage(Page[TeamOut]):
    pass


class ProjectIn(RequestBody):
    namespace: Name


class ProjectOut(Out):
    tenant_id: str
    namespace: str
    embedding_version: str
    live_docs: int
    live_chunks: int
    created_at: datetime


class ProjectPage(Page[ProjectOut]):
    pass


class ErasureOfTeamIn(RequestBody):
    confirm_tenant_id: Name = Field(description="The team's name once more: all of it is erased, for good")
    reason: Reason = None


class ErasureOfProjectIn(RequestBody):
    confirm_namespace: Name = Field(description="The namespace's name once more: all of it is erased, for good")
    reason: Reason = None


@router.post("", status_code=201)
@needs(Scope.OPERATOR)
@raises(Conflict)
def create_team(body: TeamIn, runtime: InRuntime) -> TeamOut:
    team = runtime.accounts.teams.create_team(
        body.tenant_id, system_prompt=body.system_prompt, allow_system_prompt=body.allow_system_prompt
    )
    return TeamOut.model_validate(team)


@router.get("")
@needs(Scope.ADMIN)
def list_teams(runtime: InRuntime, caller: Caller, limit: Limit = 100, after: After = None) -> TeamPage:
    """All teams for an operator, for others their own; by tenant_id."""
    only = None if caller.may(Scope.OPERATOR) else caller.tenant_id
    teams = runtime.accounts.teams.teams(limit=limit + 1, after=after, only=only)
    return TeamPage.of(teams, limit=limit, cursor="tenant_id")


@router.get("/{tenant_id}")
@needs(Scope.ADMIN)
@raises(NotFound)
def get_team(tenant_id: TeamInPath, runtime: InRuntime) -> TeamOut:
    return TeamOut.model_validate(runtime.accounts.teams.team(tenant_id))


@router.patch("/{tenant_id}")
@needs(Scope.ADMIN)
@raises(NotFound)
def change_team(tenant_id: TeamInPath, body: TeamChangeIn, runtime: InRuntime, caller: Caller) -> TeamOut:
    """With a system_prompt that is null or empty, the service's default applies. quotas take an operator's key."""
    if "quotas" in body.model_fields_set and not caller.may(Scope.OPERATOR):
        raise Forbidden("Only a key with the scope operator sets quotas.", param="quotas")
    change = TeamChange(**body.model_dump(exclude_unset=True))
    return TeamOut.model_validate(runtime.accounts.teams.change_team(tenant_id, change))


@router.get("/{tenant_id}/export", response_class=StreamingResponse, responses=EXPORT)
@needs(Scope.ADMIN)
@raises(NotFound)
def export_team(
    tenant_id: TeamInPath,
    runtime: InRuntime,
    namespace: NamespaceIfAny = None,
    vectors: Annotated[bool, Query(description=VECTORS)] = False,  # noqa: FBT002
    files: Annotated[bool, Query(description="With the raw files")] = True,  # noqa: FBT002
) -> StreamingResponse:
    """What is searchable in the team's namespaces, as a file for manage.py import. Each is read at one seq.

    A stream that fails breaks off, and the file is then not complete: an import refuses it.
    """
    pieces = runtime.operations.exporting.export(tenant_id, ExportOptions(namespace, vectors, files))
    headers = {"Content-Disposition": 'attachment; filename="export.tar.zst"', "Cache-Control": "private, no-cache"}
    return StreamingResponse(pieces, media_type=ZSTD, headers=headers)


@router.post("/{tenant_id}/projects", status_code=201)
@needs(Scope.ADMIN)
@raises(*EMBEDDING, NotFound, Conflict)
def create_project(tenant_id: TeamInPath, body: ProjectIn, runtime: InRuntime) -> ProjectOut:
    """Create an empty namespace, under the embedding version of this process."""
    return ProjectOut.model_validate(runtime.accounts.teams.create_project(tenant_id, body.namespace))


@router.get("/{tenant_id}/projects")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def list_projects(tenant_id: TeamInPath, runtime: InRuntime, limit: Limit = 100, after: After = None) -> ProjectPage:
    """The team's namespaces, by name."""
    projects = runtime.accounts.teams.projects(tenant_id, limit=limit + 1, after=after)
    return ProjectPage.of(projects, limit=limit, cursor="namespace")


@router.delete("/{tenant_id}", status_code=202, responses=with_headers("Location", status=202))
@needs(Scope.ADMIN)
@raises(NotFound)
def erase_team(
    tenant_id: TeamInPath, body: ErasureOfTeamIn, runtime: InRuntime, caller: Caller, response: Response
) -> ErasureStartedOut:
    """Erase a team with its namespaces and API keys, for good. It is gone at once; a job removes what it had."""
    accepted = runtime.erasure.requests.accept_tenant(
        tenant_id, confirmed=body.confirm_tenant_id, reason=body.reason, requested_by=actor(caller)
    )
    return started(accepted, response)


@router.delete(
    "/{tenant_id}/projects/{namespace:path}", status_code=202, responses=with_headers("Location", status=202)
)
@needs(Scope.ADMIN)
@raises(NotFound)
def erase_project(
    tenant_id: TeamInPath,
    namespace: NamespaceInPath,
    body: ErasureOfProjectIn,
    runtime: InRuntime,
    caller: Caller,
    response: Response,
) -> ErasureStartedOut:
    """Erase a namespace with all that it has, for good. Its name is free at once; a job removes what it had."""
    accepted = runtime.erasure.requests.accept_namespace(
        tenant_id, namespace, confirmed=body.confirm_namespace, reason=body.reason, requested_by=actor(caller)
    )
    return started(accepted, response)
