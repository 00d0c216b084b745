"""How a route lets in, reads its body and repeats its answer: scopes, strict JSON, Idempotency-Key on what writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from api.access import admit, as_openapi, headers_of, needed_by, principal
from api.problems import OUT_OF_MEMORY, RETRY_AFTER_SECONDS, problem
from api.responses import answers_of, merged
from errors import Conflict, Invalid, ServiceError
from services.idempotency import GivenAnswer

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
LONGEST_KEY = 255
KEYED = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "The same key with the same request gets the first answer again",
            "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
        }
    ]
}


class StrictRequest(Request):
    """JSON that says one thing: no key twice, no NaN, no half of a character, no nesting without end."""

    async def body(self) -> bytes:
        with _enough_memory():
            return await super().body()

    async def json(self) -> Any:
        with _enough_memory():
            return _parsed(await self.body())


class StrictRoute(APIRoute):
    """Lets in who may come in, and reads strictly what they sent. One that no @needs stands above cannot be made."""

    also_raises: tuple[type[ServiceError], ...] = ()

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.any_of = needed_by(endpoint)
        options["openapi_extra"] = {**as_openapi(self.any_of), **(options.get("openapi_extra") or {})}
        problems = answers_of(endpoint, is_open=not self.any_of, also=self.also_raises)
        options["responses"] = merged(problems, options.get("responses") or {})
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handle_admitted(request: Request) -> Response:
            who, quota = await admit(request, self.any_of)
            _refuse_nul(request)
            token = principal.set(who)
            try:
                answer = await self.answer(StrictRequest(request.scope, request.receive), handle)
            finally:
                principal.reset(token)
            if quota is not None:
                answer.headers.update(headers_of(quota))
            return answer

        return handle_admitted

    async def answer(self, request: StrictRequest, handle: Handler) -> Response:
        return await handle(request)


class WritingRoute(StrictRoute):
    """A POST that is sent again with the same Idempotency-Key gets the first one's answer again.

    An answer that says no-store holds a secret and is not kept: its repetition is told that it was done.
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


def _parsed(body: bytes) -> Any:
    try:
        found = json.loads(body, object_pairs_hook=_object, parse_constant=_no_constant)
        if b"\\ud" in body.lower():  # an escaped surrogate: only a pair of them is a character
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", "", 0) from error
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("not UTF-8", "", error.start) from error
    except UnicodeEncodeError as error:
        raise json.JSONDecodeError("a lone surrogate, which is no character", "", 0) from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # Python's own limit, as reading digits takes quadratic time
        raise json.JSONDecodeError("an integer of thousands of digits", "", 0) from error
    return found


@contextmanager
def _enough_memory() -> Iterator[None]:
    """FastAPI takes every other error of a body's reading for the client's fault."""
    try:
        yield
    except MemoryError as error:
        raise HTTPException(503, OUT_OF_MEMORY, headers={"Retry-After": RETRY_AFTER_SECONDS}) from error


def _refuse_nul(request: Request) -> None:
    if b"%00" in request.scope.get("raw_path", b"") + request.scope["query_string"]:
        raise Invalid("The URL has a NUL character (%00) in it, which no name has.")


async def _handle_keyed(request: StrictRequest, handle: Handler, key: str) -> Response:
    return await answer_once(request, handle, key, whose=await _tenant(request), content=await request.body())


async def answer_once(request: Request, handle: Handler, key: str, *, whose: str, content: bytes) -> Response:
    """The answer of *handle*, or the one that was given before to the same *content* under this key."""
    if not 0 < len(key) <= LONGEST_KEY:
        raise Invalid(f"Idempotency-Key must have 1 to {LONGEST_KEY} characters.", param="Idempotency-Key")
    idempotency = request.state.runtime.idempotency
    told = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode() + content).hexdigest()
    whose = principal.get().tenant_id or whose
    key = hashlib.sha256(f"{request.url.path}\n{whose}\n{key}".encode()).hexdigest()
    given = await run_in_threadpool(idempotency.begin, key, told)
    if given is not None:
        return Response(given.body, given.status_code, {**given.headers, "Idempotency-Replayed": "true"})
    try:
        answer = await handle(request)
    except BaseException:
        await run_in_threadpool(idempotency.release, key, told)
        raise
    kept = answer
    if answer.headers.get("cache-control") == "no-store":
        kept = problem(request, 409, "This was done before, and what it answered was shown once.", code="conflict")
    headers = {name: value for name, value in kept.headers.items() if name in ("content-type", "location", "etag")}
    await run_in_threadpool(idempotency.keep, key, told, GivenAnswer(kept.status_code, bytes(kept.body), headers))
    return answer


async def _tenant(request: StrictRequest) -> str:
    """Two tenants may choose the same key."""
    try:
        body = await request.json()
    except json.JSONDecodeError:
        return ""  # the route says what is wrong with it
    if isinstance(body, dict) and isinstance(body.get("docs"), list) and body["docs"]:
        body = body["docs"][0]
    return str(body.get("tenant_id", "")) if isinstance(body, dict) else ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise json.JSONDecodeError(f"the key {twice!r} stands twice in one object", "", 0)
    return found


def _no_constant(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is not a JSON number", "", 0)
