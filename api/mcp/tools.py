"""The tools. Each calls a function of api/v1 as its route does, so it has its checks, limits, records and errors."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.access import needed_by, refuse_restricted
from api.fields import RequestBody
from api.mcp import results
from api.mcp.arguments import (
    MOST_LISTED,
    AddDocumentArguments,
    AskArguments,
    DeleteDocumentArguments,
    FetchArguments,
    JobStatusArguments,
    ListDocumentsArguments,
    ListNamespacesArguments,
    SearchArguments,
)
from api.mcp.calls import ToolCaller
from api.mcp.reading import PlacedChunk, stretch
from api.mcp.references import DocReference
from api.routing import validated
from api.v1 import ask as asking
from api.v1 import documents, jobs, teams
from api.v1 import fetch as fetching
from api.v1 import search as searching
from api.v1.common import UpsertOut
from domain import Json, Principal, Scope
from errors import Invalid, NotFound
from services.index.names import check_name
from services.ingest.listing import DocQuery


async def search(caller: ToolCaller, arguments: SearchArguments) -> Json:
    """Find passages of documents by meaning and words. Read on around one: fetch its id at its offset."""
    namespace = await caller.namespace_of(arguments.namespace)
    seen, most = arguments.offset, caller.runtime.search.limits.top_k
    fields = {"namespace": namespace, "top_k": max(1, min(seen + arguments.top_k, most))}
    fields |= {"query": arguments.query, "mode": arguments.mode, "filters": arguments.filters}
    answer = await searching.search(
        caller.body(searching.SearchIn, fields), caller.runtime, caller.principal, caller.restriction
    )
    is_full = seen + arguments.top_k == len(answer.chunks) < most
    return results.search_results(answer, namespace, skipped=seen, next_offset=len(answer.chunks) if is_full else None)


async def fetch(caller: ToolCaller, arguments: FetchArguments) -> Json:
    """Read a document by its id; next_offset says where the rest begins."""
    named = DocReference.parse(arguments.id)
    reference = DocReference(await caller.namespace_of(named.namespace), named.doc_id)
    return await run_in_threadpool(_fetched, caller, reference, arguments)


async def ask(caller: ToolCaller, arguments: AskArguments) -> Json:
    """Answer a question from the documents, with citations."""
    namespace = await caller.namespace_of(arguments.namespace)
    fields = {"namespace": namespace, "question": arguments.question, "filters": arguments.filters}
    body = caller.body(asking.AskIn, fields)
    answer = await asking.ask(body, caller.request, caller.runtime, caller.principal, caller.restriction)
    return {} if isinstance(answer, Response) else results.answer_with_citations(answer, namespace)


async def list_namespaces(caller: ToolCaller, arguments: ListNamespacesArguments) -> Json:  # noqa: ARG001
    """List the namespaces, with how many documents each has."""
    listed = await caller.namespaces(MOST_LISTED + 1)
    return results.namespace_list(listed[:MOST_LISTED], has_more=len(listed) > MOST_LISTED)


async def list_documents(caller: ToolCaller, arguments: ListDocumentsArguments) -> Json:
    """List the documents of a namespace, by doc_id."""
    namespace = await caller.namespace_of(arguments.namespace)
    query = DocQuery(after=arguments.after, restriction=caller.restriction)
    place = (caller.tenant_id, namespace, caller.runtime)
    page = await run_in_threadpool(documents.list_documents, *place, query, limit=arguments.limit)
    return results.document_list(page.data, namespace, next_after=page.next_cursor)


async def add_document(caller: ToolCaller, arguments: AddDocumentArguments) -> Json:
    """Store a document. A text is searchable at once; a url is read by a job. The same again changes nothing."""
    if (arguments.text is None) == (arguments.url is None):
        raise Invalid("Send either text or url.", param="text")
    namespace = await caller.namespace_of(arguments.namespace)
    sent = arguments.model_dump(include={"doc_id", "title", "metadata"})
    return await run_in_threadpool(_stored, caller, arguments, {**sent, "namespace": namespace})


async def delete_document(caller: ToolCaller, arguments: DeleteDocumentArguments) -> Json:
    """Delete a document: searches stop returning it at once."""
    place = (caller.tenant_id, await caller.namespace_of(arguments.namespace))
    _check_doc_id(caller, arguments.doc_id)
    deletion = await run_in_threadpool(
        documents.delete_document, arguments.doc_id, *place, caller.runtime, Response(), caller.principal
    )
    assert isinstance(deletion, documents.DeleteOut)
    return results.deleted(deletion)


async def job_status(caller: ToolCaller, arguments: JobStatusArguments) -> Json:
    """How far a job is, and what failed."""
    job = await jobs.get_job(arguments.job_id, caller.runtime, caller.principal, None)
    if caller.namespace not in (None, job.namespace):
        raise NotFound(f"There is no job {arguments.job_id!r} in this namespace.", param="job_id")
    return results.job_state(job)


@dataclass(frozen=True)
class Tool:
    """*route* is the function of api/v1 whose scopes open it. Its name and description are those of *run*.

    A tool that *applies_restriction* is for keys that see a part of their team's documents too.
    """

    run: Callable[[ToolCaller, Any], Awaitable[Json]]
    arguments: type[RequestBody]
    route: Callable[..., Any]
    only_reads: bool = True
    destroys: bool = False
    reaches_out: bool = False
    applies_restriction: bool = False

    @property
    def name(self) -> str:
        return self.run.__name__

    @property
    def description(self) -> str:
        return " ".join((self.run.__doc__ or "").split())

    @property
    def any_of(self) -> tuple[Scope, ...]:
        return needed_by(self.route)

    @cached_property
    def _parser(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.arguments)

    def is_offered(self, caller: ToolCaller) -> bool:
        """Whether a tool that this caller may use would do something for it."""
        if self.run is ask:
            return bool(caller.runtime.settings.llm_base_url)
        return self.run is not list_namespaces or caller.namespace is None

    async def call(self, caller: ToolCaller, arguments: Mapping[str, Any]) -> Json:
        """Raises Forbidden, Invalid, RequestValidationError, and what the route raises."""
        caller.require(self.any_of)
        if not self.applies_restriction:
            refuse_restricted(caller.principal)
        return await self.run(caller, self._parsed(arguments, caller.principal))

    def _parsed(self, arguments: Mapping[str, Any], principal: Principal) -> Any:
        """As strictly as a body: the library that received them lets NaN and half characters pass."""
        try:
            content = json.dumps(arguments).encode()
        except RecursionError as error:
            raise Invalid("The arguments are nested too deeply.") from error
        return validated(self._parser, {"principal": principal}, content)


FETCH = Tool(fetch, FetchArguments, documents.list_chunks, applies_restriction=True)
TOOLS = (
    Tool(search, SearchArguments, searching.search, applies_restriction=True),
    FETCH,
    Tool(ask, AskArguments, asking.ask, applies_restriction=True),
    Tool(list_namespaces, ListNamespacesArguments, teams.list_projects),
    Tool(list_documents, ListDocumentsArguments, documents.list_documents, applies_restriction=True),
    Tool(add_document, AddDocumentArguments, documents.upsert, only_reads=False, reaches_out=True),
    Tool(delete_document, DeleteDocumentArguments, documents.delete_document, only_reads=False, destroys=True),
    Tool(job_status, JobStatusArguments, jobs.get_job),
)


def offered_to(caller: ToolCaller) -> list[Tool]:
    """What this caller is shown: what its scopes allow, and what this service can do."""
    tools = [each for each in TOOLS if caller.principal.may(*each.any_of) and each.is_offered(caller)]
    return [each for each in tools if caller.restriction is None or each.applies_restriction]


def _fetched(caller: ToolCaller, reference: DocReference, arguments: FetchArguments) -> Json:
    place = (reference.doc_id, caller.tenant_id, reference.namespace or "", caller.runtime, caller.restriction)
    _check_doc_id(caller, reference.doc_id)
    document = documents.get_document(*place, Response())

    def read(after: int, limit: int) -> Sequence[PlacedChunk]:
        return documents.list_chunks(*place, limit=limit, after=after if after >= 0 else None).data

    text, next_offset = stretch(read, arguments.offset, arguments.max_chars)
    return results.document_text(document, reference, text, next_offset=next_offset)


def _stored(caller: ToolCaller, arguments: AddDocumentArguments, fields: Mapping[str, Any]) -> Json:
    runtime = caller.runtime
    if arguments.url is not None:
        body = caller.body(fetching.FetchIn, {**fields, "url": arguments.url})
        outcome: UpsertOut = fetching.fetch(body, runtime, Response())
    else:
        outcome = documents.upsert(caller.body(documents.DocIn, {**fields, "text": arguments.text}), runtime)
    place = (caller.tenant_id, str(fields["namespace"]), runtime, caller.restriction)
    document = documents.get_document(arguments.doc_id, *place, Response())
    return results.stored(document, is_unchanged=outcome.skipped_docs > 0, job_id=outcome.job_id)


def _check_doc_id(caller: ToolCaller, doc_id: str) -> None:
    check_name("doc_id", doc_id, caller.runtime.settings.max_doc_id_chars)
