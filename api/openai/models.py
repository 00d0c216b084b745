"""/v1/models: a tenant's namespaces, as the models that answer from them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import JSONResponse

from api.access import needs
from api.dependencies import InRuntime
from api.doors import DoorRoute, NamedTenant, place_of
from api.responses import raises
from api.strings import Key
from domain import Json, Scope
from errors import NotFound
from services.accounts.teams import ProjectInfo

router = APIRouter(prefix="/v1/models", tags=["openai"], route_class=DoorRoute)

MOST_MODELS = 1000


@router.get("")
@needs(Scope.SEARCH)
def list_models(tenant: NamedTenant, runtime: InRuntime) -> Response:
    """A model per namespace. Without keys and without a tenant those of all tenants, as "tenant/namespace"."""
    projects = runtime.accounts.teams.all_projects(tenant, limit=MOST_MODELS)
    return JSONResponse({"object": "list", "data": [_model(each, tenant) for each in projects]})


@router.get("/{model:path}")
@needs(Scope.SEARCH)
@raises(NotFound)
def get_model(model: Annotated[Key, Path()], tenant: NamedTenant, runtime: InRuntime) -> Response:
    project = runtime.accounts.teams.project(*place_of(tenant, model))
    return JSONResponse(_model(project, tenant) | {"id": model})


def _model(project: ProjectInfo, tenant: str | None) -> Json:
    name = project.namespace if tenant is not None else f"{project.tenant_id}/{project.namespace}"
    created = int(project.created_at.timestamp())
    return {"id": name, "object": "model", "created": created, "owned_by": project.tenant_id}
