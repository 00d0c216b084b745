"""Who calls a tool, and in which tenant and namespace: decided once, before the tool runs.

From the key, or without keys from the URL, the caller becomes a principal of one tenant. So the functions of api/v1,
which the tools call, treat it as they treat the principal of an API key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from api.access import require
from api.problems import errors_in_body
from api.tenants import BodyContext, visible
from domain import Principal, Scope
from errors import Invalid, NotFound
from runtime.parts import Runtime
from services.accounts.teams import ProjectInfo
from services.index.names import check_name
from text.restriction import Restriction, restriction_of

NAMED = 5
NO_TENANT = (
    "This connection names no tenant: add it to the URL of this MCP server, as in /mcp?tenant_id=acme, or connect "
    "with an API key (AUTH_MODE=keys)."
)

Body = TypeVar("Body", bound=BaseModel)


def of_tenant(principal: Principal, tenant_id: str | None) -> Principal:
    """The same caller, for whom only one tenant exists; unchanged if neither the key nor *tenant_id* names one."""
    tenant = visible(principal, tenant_id)
    return principal if tenant in (None, principal.tenant_id) else replace(principal, tenant_id=tenant)


@dataclass(frozen=True, slots=True)
class ToolCaller:
    """*namespace* is the only one that this connection is for; None: any of the tenant's.

    *request* is what errors are reported for, and what says that the client has left.
    """

    runtime: Runtime
    principal: Principal
    request: Request
    namespace: str | None = None

    def require(self, any_of: tuple[Scope, ...]) -> None:
        """Raises Forbidden, and Invalid if neither the key nor the URL names a tenant."""
        require(self.principal, any_of)
        if self.principal.tenant_id is None:
            raise Invalid(NO_TENANT, param="tenant_id")

    @property
    def restriction(self) -> Restriction | None:
        return restriction_of(self.principal)

    @property
    def tenant_id(self) -> str:
        assert self.principal.tenant_id is not None, "require() comes first"
        return self.principal.tenant_id

    def body(self, model: type[Body], fields: Mapping[str, Any]) -> Body:
        """A body of api/v1, with its checks. Raises RequestValidationError."""
        context: BodyContext = {"principal": self.principal}
        try:
            return model.model_validate({"tenant_id": self.tenant_id, **fields}, context=dict(context))
        except ValidationError as error:
            raise RequestValidationError(errors_in_body(error)) from error

    async def namespace_of(self, name: str | None) -> str:
        """The namespace *name*; without one, the connection's or the tenant's only one. Raises Invalid."""
        if self.namespace is not None and name not in (None, self.namespace):
            message = f"This connection is for the namespace {self.namespace!r} alone: leave namespace out."
            raise Invalid(message, param="namespace")
        chosen = name or self.namespace or await self._only_namespace()
        check_name("namespace", chosen, self.runtime.settings.max_name_chars)
        return chosen

    async def namespaces(self, limit: int) -> list[ProjectInfo]:
        """The tenant's first *limit* namespaces, by name. One without documents yet may not exist, and has none."""
        try:
            return await run_in_threadpool(
                self.runtime.accounts.teams.projects, self.tenant_id, limit=limit, after=None
            )
        except NotFound:
            return []

    async def _only_namespace(self) -> str:
        if self.restriction is not None:
            names = sorted(self.restriction.namespaces or ())
        else:
            names = [each.namespace for each in await self.namespaces(NAMED)]
        if len(names) == 1:
            return names[0]
        some = f"it has {', '.join(map(repr, names[:NAMED]))}" if names else "it has none yet"
        raise Invalid(f"Say which namespace of this tenant: {some}.", param="namespace")
