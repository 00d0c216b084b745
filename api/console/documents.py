"""Is my document in, and in which revision? How was it cut? If it is not in, why?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import get_args

from starlette.responses import Response

from api.access import needs
from api.console.routing import get, post
from api.console.visits import Visit
from api.forms import checked
from api.v1.common import actor
from api.v1.files import UploadForm, docs_of
from domain import Scope
from errors import NotFound
from services.erasure.requests import ErasureRequest
from services.ingest.browsing import ChunkInfo, DocumentInfo
from services.ingest.listing import DocQuery, Order

PATH = "/console/documents"
DOCUMENT = "/console/document"
STATUSES = ("uploaded", "processing", "ready", "failed")
ORDERS: tuple[Order, ...] = get_args(Order)
PER_PAGE, CHUNKS_PER_PAGE, REVISIONS_SHOWN = 50, 50, 10


@needs(Scope.SEARCH, Scope.INGEST)
def documents(visit: Visit) -> Response:
    """Without a namespace, those there are; without a tenant, those."""
    if visit.tenant is None:
        return _tenants(visit)
    if visit.namespace is None:
        return _namespaces(visit)
    status, text = visit.choice("status", *STATUSES), visit.value("find")
    query = DocQuery(status=status, title=text, order=_order(visit), after=visit.value("after"))
    page = visit.runtime.ingest.browsing.page(*visit.place, query, limit=PER_PAGE)
    shown = page.data
    if text and query.after is None:
        shown = [*_named(visit, text), *(each for each in shown if each.doc_id != text)]
    return visit.page(
        "documents.html",
        documents=shown,
        after=page.next_cursor,
        status=status,
        statuses=STATUSES,
        find=text,
        order=query.order,
        lives=any(_is_coming(each) for each in shown),
    )


@needs(Scope.SEARCH, Scope.INGEST)
def document(visit: Visit) -> Response:
    browsing, name = visit.runtime.ingest.browsing, (*visit.place, visit.required("doc_id"))
    shown = browsing.get(*name)
    first = _number(visit.value("from"))
    chunks = browsing.chunks(*name, limit=CHUNKS_PER_PAGE + 1, after=first - 1 if first else None)
    return visit.page(
        "document.html",
        document=shown,
        parts_of_text=_parts(chunks[:CHUNKS_PER_PAGE]),
        first=first,
        per_page=CHUNKS_PER_PAGE,
        has_more=len(chunks) > CHUNKS_PER_PAGE,
        revisions=browsing.revisions(*name, limit=REVISIONS_SHOWN),
        lives=_is_coming(shown),
    )


@needs(Scope.INGEST)
def upload(visit: Visit) -> Response:
    """A field that was left empty is one that was not sent."""
    form = visit.form
    fields = {name: values for name, values in form.fields.items() if values != [""]}
    read = checked(UploadForm, fields, {"principal": visit.principal}, repeated=("doc_id", "title"))
    outcome = visit.runtime.ingest.uploads.accept(docs_of(read, form.files))
    place = {"tenant_id": visit.named_tenant, "namespace": visit.namespace}
    if outcome.job_id is None:
        return visit.redirect(PATH, **place, order="-updated_at")
    return visit.redirect(f"/console/jobs/{outcome.job_id}", **place)


@needs(Scope.INGEST)
def delete(visit: Visit) -> Response:
    visit.runtime.ingest.documents.delete(*visit.place, visit.required("doc_id"), expected_hash=None)
    return visit.redirect(PATH, **visit.carried)


@needs(Scope.INGEST)
def erase(visit: Visit) -> Response:
    """For good, with a receipt, as DELETE with hard does."""
    tenant_id, namespace = visit.place
    doc_id = visit.required("doc_id")
    visit.runtime.ingest.browsing.require_content(tenant_id, namespace, doc_id, expected_hash=None)
    request = ErasureRequest(
        tenant_id=tenant_id, namespace=namespace, doc_ids=[doc_id], requested_by=actor(visit.principal)
    )
    accepted = visit.runtime.erasure.requests.accept(request)
    return visit.redirect(f"/console/erasures/{accepted.erasure_id}", **visit.carried)


@needs(Scope.INGEST)
def retry(visit: Visit) -> Response:
    job_id = visit.runtime.ingest.retrying.retry_document(*visit.place, visit.required("doc_id"))
    return visit.redirect(f"/console/jobs/{job_id}", **visit.carried)


@dataclass(frozen=True, slots=True)
class ChunkPart:
    """A chunk as it stands in the text: *repeated* is what the chunk before has too, *own* what it adds."""

    chunk: ChunkInfo
    repeated: str
    own: str


def _parts(chunks: Sequence[ChunkInfo]) -> list[ChunkPart]:
    """A chunk's text may begin with a table's header, which is not among its characters."""
    parts: list[ChunkPart] = []
    end = 0
    for chunk in chunks:
        header = max(len(chunk.text) - (chunk.char_end - chunk.char_start), 0)
        cut = header + max(min(end, chunk.char_end) - chunk.char_start, 0)
        parts.append(ChunkPart(chunk, chunk.text[:cut], chunk.text[cut:]))
        end = max(end, chunk.char_end)
    return parts


def _tenants(visit: Visit) -> Response:
    teams = visit.runtime.accounts.teams.teams(limit=PER_PAGE + 1, after=visit.value("after"))
    names = [each.tenant_id for each in teams[:PER_PAGE]]
    return visit.page("tenants.html", tenants=names, after=names[-1] if len(teams) > PER_PAGE else None)


def _namespaces(visit: Visit) -> Response:
    assert visit.tenant is not None
    projects = visit.runtime.accounts.teams.projects(visit.tenant, limit=PER_PAGE + 1, after=visit.value("after"))
    shown = projects[:PER_PAGE]
    after = shown[-1].namespace if len(projects) > PER_PAGE else None
    return visit.page("namespaces.html", namespaces=shown, after=after)


def _named(visit: Visit, doc_id: str) -> list[DocumentInfo]:
    """The one whose doc_id that is."""
    with suppress(NotFound):
        return [visit.runtime.ingest.browsing.get(*visit.place, doc_id)]
    return []


def _order(visit: Visit) -> Order:
    chosen = visit.choice("order", *ORDERS)
    return next((each for each in ORDERS if each == chosen), "-updated_at")


def _is_coming(document: DocumentInfo) -> bool:
    return document.status in ("uploaded", "processing")


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0


ROUTES = [
    get(PATH, documents),
    get(DOCUMENT, document),
    post(f"{PATH}/upload", upload),
    post(f"{DOCUMENT}/delete", delete),
    post(f"{DOCUMENT}/erase", erase),
    post(f"{DOCUMENT}/retry", retry),
]
