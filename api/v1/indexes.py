"""/v1/index: statistics of the partitions, and their rebuild."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import Field

from api.access import needs
from api.dependencies import Caller, InRuntime, NamespaceIfAny, TenantIfAny
from api.responses import EMBEDDING, raises, with_headers
from api.routing import WritingRoute
from api.strings import Name
from api.v1.common import Out, PlaceIn
from domain import Scope
from errors import NotFound
from services.index.names import check_name, check_new_name

router = APIRouter(prefix="/v1/index", tags=["index"], route_class=WritingRoute)


class RebuildIn(PlaceIn):
    reembed: bool = Field(False, description="Compute new vectors too: after a change of the model")
    new_embedding_version: Name | None = Field(
        None, description="With reembed: the version to move to; a new one requires the scope operator"
    )


class RebuildOut(Out):
    job_id: str
    status: str


class VersionCountsOut(Out):
    name: str
    state: str
    chunks: int
    vectors: int


class PartitionOut(Out):
    """ntotal counts the live chunks. dirty: the checkpoint lags behind them; searches are correct all the same.

    deleted_chunks were deleted or replaced, and wait for KEEP_DELETED_DAYS to pass until they are removed for good.
    """

    tenant_id: str
    namespace: str
    embedding_version: str
    ntotal: int
    dimension: int
    dirty: bool
    updated_at: datetime
    seq: int
    covered_seq: int
    checkpoint_ntotal: int
    live_docs: int
    deleted_chunks: int
    versions: list[VersionCountsOut] = Field(description="Of its index versions; empty if there is only one")
    problem: str | None


class StatsOut(Out):
    total_indices: int
    total_vectors: int
    dirty_indices: int
    indices: list[PartitionOut]


@router.post("/rebuild", responses=with_headers("Location"))
@needs(Scope.INGEST)
@raises(*EMBEDDING, NotFound)
def rebuild(body: RebuildIn, runtime: InRuntime, caller: Caller, response: Response) -> RebuildOut:
    """Queue a rebuild; if one is pending already, return that one."""
    for field in ("tenant_id", "namespace"):
        check_name(field, getattr(body, field), runtime.settings.max_name_chars)
    if body.new_embedding_version is not None:
        check_new_name("new_embedding_version", body.new_embedding_version, runtime.settings.max_name_chars)
    job_id = runtime.ingest.jobs.rebuild(
        body.tenant_id, body.namespace, reembed=body.reembed, new_version=body.new_embedding_version, by=caller
    )
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return RebuildOut(job_id=job_id, status="pending")


@router.get("/stats")
@needs(Scope.SEARCH, Scope.INGEST)
def stats(runtime: InRuntime, tenant_id: TenantIfAny, namespace: NamespaceIfAny) -> StatsOut:
    indices = runtime.operations.observing.index_stats(tenant_id=tenant_id, namespace=namespace)
    return StatsOut(
        total_indices=len(indices),
        total_vectors=sum(each.ntotal for each in indices),
        dirty_indices=sum(each.dirty for each in indices),
        indices=[PartitionOut.model_validate(each) for each in indices],
    )
