"""What the routes share that speak another product's API: whose documents they are about, and how they are read.

Unknown fields and parameters are ignored, because a newer client may send them. The tenant is the key's. Without keys
it is the header OpenAI-Organization, else the first part of a name such as "acme/handbook", else "default".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from api.routing import StrictRoute
from domain import Mode
from services.search.checking import QuestionLimits
from services.search.question import Passage, Question
from text.filters import Filter

ORGANIZATION = "openai-organization"
DEFAULT_TENANT = "default"


class DoorRoute(StrictRoute):
    """Its tenant is in no field of that name."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.query_parameters = type(self.query_parameters)(self.query_parameters.names, ignores_others=True)

    def tenant_of(self, request: Request) -> str | None:
        """None: the name in the body says it."""
        return request.headers.get(ORGANIZATION)


class LenientBody(BaseModel):
    model_config = ConfigDict(extra="ignore")


class DoorBody(LenientBody):
    @property
    def tenant_id(self) -> str:
        """The tenant, where neither a key nor a header names it: for rate limits, and for the log."""
        return DEFAULT_TENANT


async def _named_tenant(request: Request) -> str | None:
    tenant: str | None = request.state.principal.tenant_id or request.headers.get(ORGANIZATION)
    return tenant


NamedTenant = Annotated[str | None, Depends(_named_tenant)]
"""The tenant that the key or the header says; None if a name in the request has to."""


def place_of(tenant: str | None, name: str) -> tuple[str, str]:
    """Returns tenant and namespace of the *name* in a request; *tenant* is the NamedTenant."""
    if tenant is not None:
        return tenant, name
    first, slash, rest = name.partition("/")
    return (first, rest) if slash and first and rest else (DEFAULT_TENANT, name)


def question_with_cosines(
    place: tuple[str, str], query: str, top_k: int, *, filters: Filter | None, limits: QuestionLimits
) -> Question:
    """For an API whose scores run from 0 to 1: words alone have none, so mode keyword becomes hybrid."""
    mode: Mode = "dense" if limits.default_mode == "dense" else "hybrid"
    return Question(*place, query, top_k, filters=filters, mode=mode, rerank=limits.has_reranker)


def cosine(passage: Passage) -> float:
    """Its similarity to the query, from 0 to 1."""
    return min(max(passage.similarity or 0.0, 0.0), 1.0)
