"""/v1/vector_stores: a tenant's namespaces, and searches in them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.access import needs
from api.dependencies import Caller, IdInPath, InRuntime
from api.doors import LenientBody
from api.fields import UnparsedFilters
from api.openai.bodies import FileId, Metadata, StoreName
from api.openai.chunking import ChunkingStrategyIn, overlap_of
from api.openai.common import InPage, OpenAIRoute, OpenAIWritingRoute, Tenant, answer, deleted, listed
from api.openai.filters import parsed_filters
from api.openai.shapes import search_hit, vector_store
from api.responses import EMBEDDING, QUOTAS, raises
from api.strings import QueryText
from api.v1.common import actor
from api.v1.search import answer_of
from domain import Scope
from errors import BlobStoreUnavailable, Ended, NotFound, Overloaded, Unreadable
from services.search.checking import MAX_QUERIES, QuestionLimits, choose_mode
from services.search.question import Answer, Question
from services.stores.store_file_rows import Attachment
from services.stores.stores import NewStore, Store

router = APIRouter(prefix="/v1/vector_stores", tags=["openai"], route_class=OpenAIWritingRoute)
search_router = APIRouter(prefix="/v1/vector_stores", tags=["openai"], route_class=OpenAIRoute)

MOST_RESULTS = 50
MOST_FILES_AT_CREATION = 500
MOST_DAYS = 365


class ExpiryIn(LenientBody):
    anchor: Literal["last_active_at"] = "last_active_at"
    days: Annotated[int, Field(ge=1, le=MOST_DAYS)]


class VectorStoreIn(LenientBody):
    name: StoreName | None = Field(None, description="The namespace gets it too, if it is free")
    description: Annotated[StoreName | None, Field(max_length=512)] = None
    file_ids: Annotated[list[FileId], Field(fail_fast=True, max_length=MOST_FILES_AT_CREATION)] | None = None
    metadata: Metadata | None = None
    expires_after: ExpiryIn | None = None
    chunking_strategy: ChunkingStrategyIn | None = None


class VectorStoreChangeIn(LenientBody):
    name: StoreName | None = None
    metadata: Metadata | None = Field(None, description="Null: none")
    expires_after: ExpiryIn | None = Field(None, description="Null: never")


class RankingOptionsIn(LenientBody):
    ranker: Literal["none", "auto", "default-2024-11-15"] = Field("auto", description="none: no reranking")
    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = None


class StoreSearchIn(LenientBody):
    query: QueryText | Annotated[list[QueryText], Field(fail_fast=True, min_length=1, max_length=MAX_QUERIES)]
    filters: UnparsedFilters | None = Field(None, description="Conditions on attributes")
    max_num_results: Annotated[int, Field(ge=1, le=MOST_RESULTS)] = 10
    ranking_options: RankingOptionsIn | None = None
    rewrite_query: bool = Field(False, description="Ignored: queries are searched for as they are")


@router.post("")
@needs(Scope.ADMIN)
@raises(*EMBEDDING, *QUOTAS, NotFound, Unreadable, BlobStoreUnavailable)
def create_vector_store(body: VectorStoreIn, tenant: Tenant, runtime: InRuntime) -> Response:
    """Create a namespace, and attach files to it."""
    file_ids = list(dict.fromkeys(body.file_ids or ()))
    runtime.stores.files.rows(tenant, file_ids)
    new = NewStore(
        name=body.name or "",
        description=body.description,
        metadata=dict(body.metadata or {}),
        expires_days=None if body.expires_after is None else body.expires_after.days,
    )
    info = runtime.stores.stores.create(tenant, new)
    if not file_ids:
        return answer(vector_store(info))
    overlap = overlap_of(body.chunking_strategy)
    runtime.stores.store_files.attach_all(info.store, [Attachment(each, {}, overlap) for each in file_ids])
    return answer(vector_store(runtime.stores.stores.get(tenant, info.store.id)))


@router.get("")
@needs(Scope.SEARCH, Scope.INGEST)
def list_vector_stores(page: InPage, tenant: Tenant, runtime: InRuntime) -> Response:
    """The tenant's namespaces, whichever door made them."""
    return listed(runtime.stores.stores.page(tenant, page), vector_store)


@router.get("/{vector_store_id}")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def get_vector_store(vector_store_id: IdInPath, tenant: Tenant, runtime: InRuntime) -> Response:
    return answer(vector_store(runtime.stores.stores.get(tenant, vector_store_id)))


@router.post("/{vector_store_id}")
@needs(Scope.ADMIN)
@raises(NotFound)
def change_vector_store(
    vector_store_id: IdInPath, body: VectorStoreChangeIn, tenant: Tenant, runtime: InRuntime
) -> Response:
    """Change its name, its metadata, or when it expires. Its namespace keeps its name."""
    return answer(vector_store(runtime.stores.stores.change(tenant, vector_store_id, _changes(body))))


@router.delete("/{vector_store_id}")
@needs(Scope.ADMIN)
@raises(NotFound)
def delete_vector_store(vector_store_id: IdInPath, tenant: Tenant, runtime: InRuntime, caller: Caller) -> Response:
    """Erase the namespace with all that it has, for good. File objects stay."""
    namespace = runtime.stores.stores.get(tenant, vector_store_id).store.namespace
    runtime.erasure.requests.accept_namespace(
        tenant, namespace, confirmed=namespace, reason=None, requested_by=actor(caller), keeps_files=True
    )
    return deleted(vector_store_id, "vector_store.deleted")


@search_router.post("/{vector_store_id}/search")
@needs(Scope.SEARCH)
@raises(*EMBEDDING, NotFound, Ended, Overloaded)
async def search_vector_store(
    vector_store_id: IdInPath, body: StoreSearchIn, tenant: Tenant, runtime: InRuntime, caller: Caller
) -> Response:
    """The best chunks for a query, or for several together. has_more: there are others; no page has them."""
    stores, limits = runtime.stores.stores, runtime.search.limits
    store = stores.used_lately(tenant, vector_store_id)
    result = None if store is None else await answer_of(_question(store, body, limits), runtime, caller)
    if store is None or result is None or not _is_of(store, result):
        store = await run_in_threadpool(stores.use, tenant, vector_store_id)
        result = await answer_of(_question(store, body, limits), runtime, caller)
    hits = result.passages[: body.max_num_results]
    return answer(
        {
            "object": "vector_store.search_results.page",
            "search_query": _queries(body),
            "data": [search_hit(passage) for passage in hits],
            "has_more": len(result.passages) > len(hits),
            "next_page": None,
        }
    )


def _is_of(store: Store, result: Answer) -> bool:
    """Not if the namespace was erased, though another may have its name by now."""
    partition = result.partition
    return partition is not None and (partition.team_id, partition.project_id) == store.key


def _changes(body: VectorStoreChangeIn) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if body.name is not None:
        changes["name"] = body.name
    if "metadata" in body.model_fields_set:
        changes["metadata"] = dict(body.metadata or {})
    if "expires_after" in body.model_fields_set:
        changes["expires_days"] = None if body.expires_after is None else body.expires_after.days
    return changes


def _queries(body: StoreSearchIn) -> list[str]:
    return [body.query] if isinstance(body.query, str) else body.query


def _question(store: Store, body: StoreSearchIn, limits: QuestionLimits) -> Question:
    """One chunk more than is shown tells whether there are others."""
    query, *others = _queries(body)
    ranking = body.ranking_options or RankingOptionsIn()
    return Question(
        *(store.tenant_id, store.namespace, query, min(body.max_num_results + 1, limits.top_k)),
        filters=parsed_filters(body.filters),
        mode=choose_mode(None, limits),
        queries=tuple(others),
        min_score=ranking.score_threshold or None,
        rerank=limits.has_reranker and ranking.ranker != "none",
    )
