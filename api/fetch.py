"""/v1/docs/fetch: a document from a URL."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field

from api.access import needs
from api.dependencies import InRuntime, Metadata, RequestBody, TenantInBody
from api.files import UploadOut, uploaded
from api.routing import WritingRoute
from domain import Scope
from services.drafting import AUTO, NewDoc
from services.uploading import doc_id_of

router = APIRouter(prefix="/v1/docs", tags=["files"], route_class=WritingRoute)


class FetchIn(RequestBody):
    """Where a document is. What is left out has the default that is shown."""

    tenant_id: TenantInBody
    namespace: str
    url: str = Field(max_length=4096)
    doc_id: str | None = Field(None, description="Left out: a hash of namespace and URL")
    title: str | None = Field(None, max_length=1000)
    metadata: Metadata = Field(default_factory=dict)
    chunk_strategy: str = Field(AUTO, description="auto: the one that fits the file")
    chunk_overlap: int = Field(0, ge=0, le=10_000)
    enrich_context: bool = False


@router.post("/fetch")
@needs(Scope.INGEST)
def fetch(body: FetchIn, runtime: InRuntime, response: Response) -> UploadOut:
    """Get a document from a URL and store it; a worker reads, embeds and publishes it after the answer."""
    done, doc = runtime.fetching.fetch(body.url, _doc(body))
    if done.job_id:
        response.headers["Location"] = f"/v1/jobs/{done.job_id}"
    return uploaded(done, [doc])


def _doc(body: FetchIn) -> NewDoc:
    told = body.model_dump(exclude={"url", "doc_id"})
    return NewDoc(**told, doc_id=body.doc_id or doc_id_of(body.namespace, body.url), text="", source_type="url")
