"""How a route admits a caller, reads the body and repeats an answer: scopes, strict JSON, Idempotency-Key on writes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from api.access import admit, admit_tenants, admits_restricted, as_openapi, needed_by, refuse_restricted
from api.headers import rate_limit_headers
from api.limits import LARGE_BODY_BYTES, RECEIVE_SECONDS, body_limit, declared_length
from api.parameters import QueryParameters
from api.problems import errors_in_body, problem
from api.responses import answers_of, merged
from api.tenants import BodyContext
from domain import Principal
from errors import Conflict, Invalid, ServiceError
from logs import actor
from services.accounts.rate_limits import Quota
from services.operations.idempotency import StoredResponse
from text import strict_json

Handler = Callable[[Any], Coroutine[Any, Any, Response]]
LONGEST_KEY = 255
KEYED = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "The same request with the same key gets the first answer again",
            "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
        }
    ]
}


class StrictRequest(Request):
    """A request whose body has been parsed once, into the model that the route takes."""

    _read: Any = None
    _content: bytes | None = None

    @property
    def parsed(self) -> Any:
        return self._read

    async def json(self) -> Any:
        return self._read

    async def body(self) -> bytes:
        """Raises HTTPException if the client leaves before its end."""
        if self._content is None:
            pieces, has_more = [], True
            while has_more:
                message = await self.receive()
                if message["type"] != "http.request":
                    raise HTTPException(400, "The connection broke before the body was complete.")
                pieces.append(message.get("body", b""))
                has_more = message.get("more_body", False)
            self._content = b"".join(pieces)
        return self._content

    async def read(self, model: TypeAdapter[Any], held: AsyncExitStack) -> None:
        """Raises Invalid, TooLarge, Overloaded or RequestValidationError. *held* holds the memory of a large body."""
        length = declared_length(self.scope)
        if length == 0:
            return
        _require_json_type(self.headers.get("content-type", ""))
        if length is not None and length < LARGE_BODY_BYTES:
            self._read = validated(model, self._context(), await self.body())
        else:
            await self._read_large(model, held, length)

    async def _read_large(self, model: TypeAdapter[Any], held: AsyncExitStack, length: int | None) -> None:
        runtime, large = self.state.runtime, self.state.large_bodies
        expected = body_limit(self.url.path, runtime.settings).largest if length is None else length
        await held.enter_async_context(large.received.reserve(expected))
        try:
            async with asyncio.timeout(RECEIVE_SECONDS):
                body = await self.body()
        except TimeoutError as error:
            raise HTTPException(408, f"The body did not arrive within {RECEIVE_SECONDS:g} s.") from error
        await held.enter_async_context(large.room_for(body))
        self._read = await large.parse(partial(validated, model, self._context(), body))

    def _context(self) -> BodyContext:
        return {"principal": self.state.principal}


class StrictRoute(APIRoute):
    """Admits callers by their scopes, and reads URLs and bodies strictly. A route without @needs cannot be created."""

    also_raises: tuple[type[ServiceError], ...] = ()

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.any_of = needed_by(endpoint)
        options["openapi_extra"] = {**as_openapi(self.any_of), **(options.get("openapi_extra") or {})}
        problems = answers_of(endpoint, is_open=not self.any_of, also=self.also_raises)
        options["responses"] = merged(problems, options.get("responses") or {})
        super().__init__(path, endpoint, **options)
        self.query_parameters = QueryParameters.of(self.dependant)
        self.admits_restricted = not self.any_of or admits_restricted(each.call for each in self.dependant.dependencies)
        body = self.body_field.field_info.annotation if self.body_field else None
        self.body_model = TypeAdapter[Any](body) if body is not None else None

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handle_admitted(request: Request) -> Response:
            return await self.admitted(StrictRequest(request.scope, request.receive), handle)

        return handle_admitted

    async def admitted(self, request: StrictRequest, handle: Handler) -> Response:
        """What *handle* answers to an admitted caller whose request is of the right form."""
        state = request.state
        state.route = self.path_format
        state.principal, state.quota = await self.admission(request)
        if not self.admits_restricted:
            refuse_restricted(state.principal)
        actor.set(f"key:{state.principal.key_id}" if state.principal.key_id else "anyone")
        state.tenant = state.principal.tenant_id or self.tenant_of(request)
        _refuse_nul(request)
        self.query_parameters.check(request.scope["query_string"])
        async with AsyncExitStack() as held:
            if self.body_model is not None:
                await request.read(self.body_model, held)
                state.tenant = state.tenant or _tenant(await request.json())
            await admit_tenants(request, partial(_tenants, request))
            answer = await self.answer(request, handle)
        if (quota := state.quota) is not None:
            answer.headers.update(rate_limit_headers(quota.limit, remaining=quota.remaining, seconds=quota.seconds))
        return answer

    async def admission(self, request: Request) -> tuple[Principal, Quota | None]:
        """Who calls, and what is left of their limits. Raises Unauthenticated, Forbidden and RateLimited."""
        return await admit(request, self.any_of)

    def tenant_of(self, request: Request) -> str | None:
        """The tenant that the head of a request without a key names."""
        tenant: str | None = request.path_params.get("tenant_id")
        return tenant

    async def answer(self, request: StrictRequest, handle: Handler) -> Response:
        return await handle(request)


class WritingRoute(StrictRoute):
    """A POST that is repeated with the same Idempotency-Key gets the first answer again.

    An answer with no-store contains a secret and is not stored: a repetition gets a 409 instead.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if "POST" in options["methods"]:
            self.also_raises = (Conflict,)
            options["openapi_extra"] = {**KEYED, **(options.get("openapi_extra") or {})}
        super().__init__(path, endpoint, **options)

    async def answer(self, request: StrictRequest, handle: Handler) -> Response:
        key = request.headers.get("idempotency-key")
        if key is None or request.method != "POST":
            return await handle(request)
        return await _handle_keyed(request, handle, key)


def _refuse_nul(request: Request) -> None:
    if b"%00" in request.scope.get("raw_path", b"") + request.scope["query_string"]:
        raise Invalid("The URL contains a NUL character (%00); no name has one.")


async def _handle_keyed(request: StrictRequest, handle: Handler, key: str) -> Response:
    tenant = request.state.tenant or ""
    return await answer_once(request, handle, key, tenant=tenant, content=await request.body())


async def answer_once(request: Request, handle: Handler, key: str, *, tenant: str, content: bytes) -> Response:
    """The answer of *handle*, or the stored one if the same *content* was answered under this key before."""
    if not 0 < len(key) <= LONGEST_KEY:
        raise Invalid(f"Idempotency-Key must have 1 to {LONGEST_KEY} characters.", param="Idempotency-Key")
    idempotency = request.state.runtime.operations.idempotency
    digest = await run_in_threadpool(_digest, f"{request.method} {request.url.path}?{request.url.query}\n", content)
    tenant = request.state.principal.tenant_id or tenant
    key = hashlib.sha256(f"{request.url.path}\n{tenant}\n{key}".encode()).hexdigest()
    stored = await run_in_threadpool(partial(idempotency.begin, key, digest, tenant_id=tenant or None))
    if stored is not None:
        return Response(stored.body, stored.status_code, {**stored.headers, "Idempotency-Replayed": "true"})
    try:
        answer = await handle(request)
    except BaseException:
        await run_in_threadpool(idempotency.release, key, digest)
        raise
    repeated = answer
    if answer.headers.get("cache-control") == "no-store":
        message = "This request was completed before; its answer is shown once."
        repeated = problem(request, 409, message, code="conflict")
    headers = {name: value for name, value in repeated.headers.items() if name in ("content-type", "location", "etag")}
    await run_in_threadpool(
        idempotency.store, key, digest, StoredResponse(repeated.status_code, bytes(repeated.body), headers)
    )
    return answer


def _digest(head: str, content: bytes) -> str:
    digest = hashlib.sha256(head.encode())
    digest.update(content)
    return digest.hexdigest()


def _tenant(body: Any) -> str:
    """The tenant that a body names; of a batch, the first document's."""
    docs = getattr(body, "docs", None)
    return str(getattr(docs[0] if docs else body, "tenant_id", ""))


def _tenants(request: StrictRequest) -> list[str | None]:
    """Those that the path, the query or the body names, each document of a batch by itself."""
    docs = getattr(request.parsed, "docs", None) or ()
    named = (request.state.tenant, request.query_params.get("tenant_id"))
    return [*named, *(getattr(doc, "tenant_id", None) for doc in docs)]


def _require_json_type(content_type: str) -> None:
    kind = content_type.partition(";")[0].strip().lower()
    if kind and not (kind.startswith("application/") and kind.endswith(("/json", "+json"))):
        raise Invalid(f"Send JSON with Content-Type: application/json, not {kind[:100]!r}.")


def validated(model: TypeAdapter[Any], context: BodyContext, body: bytes) -> Any:
    """Raises Invalid or RequestValidationError."""
    if not body:
        return None
    try:
        return model.validate_python(strict_json.loads(body), context=context)
    except strict_json.NotJson as error:
        raise Invalid(f"This is not valid JSON ({error}).") from error
    except ValidationError as error:
        raise RequestValidationError(errors_in_body(error)) from error
