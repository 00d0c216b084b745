"""How a route reads its body and repeats its answer: strict JSON, and Idempotency-Key on what writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from errors import Invalid
from services.idempotency import GivenAnswer

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
LONGEST_KEY = 255


class StrictRequest(Request):
    """JSON that says one thing: no key twice, no NaN, no half of a character, no nesting without end."""

    async def json(self) -> Any:
        body = await self.body()
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
        return found


class StrictRoute(APIRoute):
    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_strict(request))

        return handle_strictly


class WritingRoute(StrictRoute):
    """A POST that is sent again with the same Idempotency-Key gets the first one's answer again."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handle_once(request: Request) -> Response:
            key = request.headers.get("idempotency-key")
            if key is None or request.method != "POST":
                return await handle(request)
            return await _handle_keyed(_strict(request), handle, key)

        return handle_once


def _strict(request: Request) -> StrictRequest:
    """Once only: the body of a request can be received once."""
    return request if isinstance(request, StrictRequest) else StrictRequest(request.scope, request.receive)


async def _handle_keyed(request: StrictRequest, handle: Handler, key: str) -> Response:
    try:
        whose = _tenant(await request.json())
    except json.JSONDecodeError:
        whose = ""  # the route says what is wrong with it
    return await answer_once(request, handle, key, whose=whose, content=await request.body())


async def answer_once(request: Request, handle: Handler, key: str, *, whose: str, content: bytes) -> Response:
    """The answer of *handle*, or the one that was given before to the same *content* under this key."""
    if not 0 < len(key) <= LONGEST_KEY:
        raise Invalid(f"Idempotency-Key must have 1 to {LONGEST_KEY} characters.", param="Idempotency-Key")
    idempotency = request.state.runtime.idempotency
    told = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode() + content).hexdigest()
    key = hashlib.sha256(f"{request.url.path}\n{whose}\n{key}".encode()).hexdigest()
    given = await run_in_threadpool(idempotency.begin, key, told)
    if given is not None:
        return Response(given.body, given.status_code, {**given.headers, "Idempotency-Replayed": "true"})
    try:
        answer = await handle(request)
    except BaseException:
        await run_in_threadpool(idempotency.release, key, told)
        raise
    headers = {name: value for name, value in answer.headers.items() if name in ("content-type", "location", "etag")}
    await run_in_threadpool(idempotency.keep, key, told, GivenAnswer(answer.status_code, bytes(answer.body), headers))
    return answer


def _tenant(body: Any) -> str:
    """Two tenants may choose the same key."""
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
