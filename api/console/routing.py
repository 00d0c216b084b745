"""How a request becomes a page: who may see it, the token of a form, and errors as pages.

A route declares its scopes with @needs, like those of the API; one that declares nothing cannot be made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from inspect import iscoroutinefunction
from typing import TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from api.access import needed_by
from api.console.admission import PATH, admit, count_failure, count_tenant, require_console
from api.console.forms import read_form
from api.console.visits import Visit, cookie_of
from api.forms import Form, drain
from api.problems import problem_of
from domain import Scope
from errors import ServiceError, Unauthenticated
from logs import actor

Screen: TypeAlias = Callable[[Visit], Response] | Callable[[Visit], Awaitable[Response]]


class ConsoleRoute(Route):
    def __init__(self, path: str, screen: Screen, method: str) -> None:
        self.any_of = needed_by(screen)
        super().__init__(path, partial(_answered, screen=screen, any_of=self.any_of, path=path), methods=[method])


def get(path: str, screen: Screen) -> ConsoleRoute:
    return ConsoleRoute(path, screen, "GET")


def post(path: str, screen: Screen) -> ConsoleRoute:
    """A write: its form has the token of the session, as its first field."""
    return ConsoleRoute(path, screen, "POST")


async def no_such_page(scope: AsgiScope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    visit = Visit(request, cookie_of(request))
    answer = await _problem_page(visit, HTTPException(404, f"The console has no page {scope['path']}."))
    await answer(scope, receive, send)


async def _answered(request: Request, *, screen: Screen, any_of: tuple[Scope, ...], path: str) -> Response:
    request.state.route = path
    visit = Visit(request, cookie_of(request))
    try:
        require_console(request)
        if any_of:
            session = visit.cookie if visit.cookie_of_session else None
            principal = await run_in_threadpool(admit, visit.runtime, session, any_of)
            visit = replace(visit, principal=principal)
            actor.set(f"key:{visit.principal.key_id}" if visit.principal.key_id else "anyone")
            request.state.tenant = visit.principal.tenant_id
        answer = await _shown(screen, visit)
    except Unauthenticated as error:
        answer = await _signed_out(visit, error)
    except Exception as error:
        answer = await _problem_page(visit, error)
    return visit.with_cookie(answer)


async def _shown(screen: Screen, visit: Visit) -> Response:
    if visit.request.method != "POST":
        return await _called(screen, visit)
    form = Form()
    try:
        await read_form(visit.request, form, token=visit.token)
        return await _called(screen, visit.with_form(form))
    except ServiceError:
        await drain(visit.request)
        raise
    finally:
        if form.blobs:
            await run_in_threadpool(visit.runtime.ingest.uploads.delete_unattached, form.blobs)


async def _called(screen: Screen, visit: Visit) -> Response:
    if visit.is_open and visit.runtime.accounts.rate_limits.is_on:
        await run_in_threadpool(count_tenant, visit.runtime, visit.named_tenant)
    if iscoroutinefunction(screen):
        answer: Response = await screen(visit)
        return answer
    return await run_in_threadpool(screen, visit)  # type: ignore[arg-type]


async def _signed_out(visit: Visit, error: Unauthenticated) -> Response:
    """To the sign-in. A part of a page that asks for itself has the whole page go there."""
    if visit.cookie_of_session:
        try:
            await run_in_threadpool(count_failure, visit.request)
        except ServiceError as limited:
            return await _problem_page(visit, limited)
    place = visit.link(f"{PATH}/sign-in", next=visit.address if visit.request.method == "GET" else None)
    if visit.is_partial:
        return Response(str(error), 401, {"HX-Redirect": place})
    return RedirectResponse(place, 303)


async def _problem_page(visit: Visit, error: Exception) -> Response:
    problem = await problem_of(visit.request, error)
    message = problem.error["message"]
    page = visit.where_it_can_be().page
    answer = await run_in_threadpool(page, "problem.html", status_code=problem.status_code, message=message)
    answer.headers.update({k: v for k, v in problem.headers.items() if k in ("retry-after", "ratelimit-limit")})
    return answer
