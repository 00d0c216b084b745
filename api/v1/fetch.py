"""/v1/docs/fetch: a document from a URL."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field

from api.access import needs
from api.dependencies import InRuntime
from api.responses import QUOTAS, raises, with_headers
from api.routing import WritingRoute
from api.strings import DocName, JsonObject, Line, Title
from api.v1.common import ChunkingIn, PlaceIn, UploadOut, uploaded
from domain import Scope
from errors import (
    BlobStoreUnavailable,
    FetchDisabled,
    FetchFailed,
    ModelUnavailable,
    NotFound,
    Unreadable,
    VersionUnavailable,
)
from services.ingest.drafts import NewDoc
from services.ingest.uploading import doc_id_of

router = APIRouter(prefix="/v1/docs", tags=["files"], route_class=WritingRoute)


class FetchIn(ChunkingIn, PlaceIn):
    """The URL of a document, and how to store it."""

    url: Line = Field(max_length=4096)
    doc_id: DocName | None = Field(None, description="Left out: a hash of namespace and URL")
    title: Title | None = None
    metadata: JsonObject = Field(default_factory=dict)


@router.post("/fetch", responses=with_headers("Location"), response_model_exclude_unset=True)
@needs(Scope.INGEST)
@raises(
    *QUOTAS,
    NotFound,
    VersionUnavailable,
    Unreadable,
    BlobStoreUnavailable,
    ModelUnavailable,
    FetchDisabled,
    FetchFailed,
)
def fetch(body: FetchIn, runtime: InRuntime, response: Response) -> UploadOut:
    """Fetch a document from a URL and store it; a worker extracts, embeds and publishes it after the answer."""
    outcome, doc = runtime.ingest.fetching.fetch(body.url, _doc(body))
    if outcome.job_id:
        response.headers["Location"] = f"/v1/jobs/{outcome.job_id}"
    return uploaded(outcome, [doc])


def _doc(body: FetchIn) -> NewDoc:
    fields = body.model_dump(exclude={"url", "doc_id"})
    return NewDoc(**fields, doc_id=body.doc_id or doc_id_of(body.namespace, body.url), text="", source_type="url")
