"""The short way to a route that takes little but a body: no walk through the routes, no solving of dependencies.

All else is as on the long way: the middlewares, admission, how the body is read, errors, and the bytes of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Self, cast, get_type_hints

from fastapi import Response
from fastapi._compat import ModelField
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from api.routing import StrictRequest, StrictRoute

KINDS = (
    *("path_params", "query_params", "header_params", "cookie_params", "body_params", "dependencies"),
    *("request_param_name", "websocket_param_name", "http_connection_param_name", "response_param_name"),
    *("background_tasks_param_name", "security_scopes_param_name"),
)
"""Whatever a function may take, as FastAPI lists it."""

_TAKEN = ("body_params", "header_params", "dependencies")
_TAKEN_WITH_NAMES = (*_TAKEN, "path_params")
"""A function that is no coroutine waits for a thread: there the way does not matter."""

LEFT_OUT = ("include", "exclude", "exclude_unset", "exclude_defaults", "exclude_none")
"""What a route may leave out of its answer, as FastAPI names it."""


@dataclass(frozen=True, slots=True)
class DirectCall:
    """Calls a route's function with the body and with what *given* takes from the request, by parameter.

    *headers* are those that the function declares: a request that has one goes the long way. *names* are the
    parameters in the path: a request in which one is not valid goes the long way. *answer* is None for a function
    that returns a response.
    """

    route: StrictRoute
    body: str
    names: Mapping[str, ModelField]
    given: Mapping[str, Callable[..., Any]]
    headers: frozenset[bytes]
    run: Callable[..., Any]
    answer: TypeAdapter[Any] | None

    @classmethod
    def of(cls, route: BaseRoute) -> Self | None:
        """None if the route takes or answers anything else."""
        if not isinstance(route, StrictRoute) or route.methods != {"POST"} or not _is_plain(route):
            return None
        parameters, function = route.dependant, route.endpoint
        return cls(
            route,
            parameters.body_params[0].name,
            {each.alias: each for each in parameters.path_params},
            {each.name: each.call for each in parameters.dependencies if each.name and each.call},
            frozenset(each.alias.lower().encode() for each in parameters.header_params),
            function if iscoroutinefunction(function) else partial(run_in_threadpool, function),
            None if route.response_model is None else TypeAdapter(route.response_model),
        )

    def names_in(self, path: str) -> dict[str, str] | None:
        """The values of *names*; None if the path is another's."""
        match = self.route.path_regex.match(path)
        values = match.groupdict() if match else {}
        is_valid = bool(match) and not any(each.validate(values[name])[1] for name, each in self.names.items())
        return values if is_valid else None

    def suits(self, scope: Scope) -> bool:
        return not self.headers or self.headers.isdisjoint(name for name, _ in scope["headers"])

    async def __call__(self, request: StrictRequest) -> Response:
        body = await request.json()
        if body is None:
            raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
        given = {name: await take(request) for name, take in self.given.items()}
        answer = await self.run(**{self.body: body}, **request.path_params, **given)
        if self.answer is None:
            return cast(Response, answer)
        return Response(self.answer.dump_json(answer, by_alias=True), media_type="application/json")


class DirectRoutes:
    """Middleware, the innermost."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self.app = app
        calls = [call for route in routes if (call := DirectCall.of(route)) is not None]
        self.calls = {call.route.path: call for call in calls if not call.names}
        self.named_calls = [call for call in calls if call.names]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        call, values = self._find(scope["path"]) if is_post else (None, {})
        if call is None or not call.suits(scope):
            await self.app(scope, receive, send)
            return
        scope = {**scope, "path_params": values}
        answer = await call.route.admitted(StrictRequest(scope, receive), call)
        await answer(scope, receive, send)

    def _find(self, path: str) -> tuple[DirectCall | None, dict[str, str]]:
        if call := self.calls.get(path):
            return call, {}
        for each in self.named_calls:
            if (values := each.names_in(path)) is not None:
                return each, values
        return None, {}


def _is_plain(route: StrictRoute) -> bool:
    """Takes a required body, headers, and what its dependencies read from the request; answers one model with 200."""
    takes, body = route.dependant, route.body_field
    return (
        body is not None
        and body.field_info.is_required()
        and not isinstance(body.field_info, Form)
        and len(takes.body_params) == 1
        and _takes_only(takes, *_TAKEN_WITH_NAMES if iscoroutinefunction(route.endpoint) else _TAKEN)
        and all(_reads_the_request(each) for each in takes.dependencies)
        and isinstance(route.response_class, DefaultPlaceholder)
        and _answers_plainly(route)
        and not any(getattr(route, f"response_model_{kind}") for kind in LEFT_OUT)
        and route.status_code is None
    )


def _answers_plainly(route: StrictRoute) -> bool:
    if route.response_model is None:
        return iscoroutinefunction(route.endpoint) and get_type_hints(route.endpoint)["return"] is Response
    return isinstance(route.response_model, type)


def _reads_the_request(dependency: Dependant) -> bool:
    return iscoroutinefunction(dependency.call) and _takes_only(dependency, "request_param_name")


def _takes_only(dependant: Dependant, *kinds: str) -> bool:
    return not any(getattr(dependant, kind) for kind in KINDS if kind not in kinds)
