"""Errors as the client sees them: application/problem+json (RFC 9457), readable by OpenAI-style clients too."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

import errors
from api.headers import rate_limit_headers
from api.limits import MAX_DETAIL_CHARS, MAX_ERRORS_LISTED, MAX_MESSAGE_CHARS
from api.statuses import STATUS_OF_ERROR, UNEXPECTED, Problem, body_of
from database.problems import DriverError
from errors import ServiceError

log = logging.getLogger(__name__)

Handler = Callable[[Request, Exception], Awaitable[Problem]]

RETRY_AFTER_SECONDS = "5"
MAX_PARAM_CHARS = 100
OUT_OF_MEMORY = (
    "This needs more memory than the service has, or may take (MEMORY_LIMIT_MB): send less at once, or try again."
)


def problem(request: Request, status: int, detail: str, *, code: str, param: str | None = None) -> Problem:
    param = _clipped(param) if param else None
    instance = _clipped(request.url.path)
    body = body_of(status, detail[:MAX_DETAIL_CHARS], code=code, instance=instance, param=param)
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return Problem(_printable(body), status_code=status, headers=headers)


def add_handlers(app: FastAPI) -> None:
    for kind, handler in _HANDLERS:
        app.add_exception_handler(kind, handler)


def errors_in_body(error: ValidationError) -> list[dict[str, Any]]:
    """The errors of a body, for a RequestValidationError.

    Lists are validated up to their first invalid item, so there are few, however wrong a body is.
    """
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return [{**each, "loc": ("body", *each["loc"])} for each in details]


async def problem_of(request: Request, error: Exception) -> Problem:
    """For an error that occurs too late for an exception handler."""
    handler = next((handler for kind, handler in _HANDLERS if isinstance(error, kind)), _unexpected)
    return await handler(request, error)


async def _service_error(request: Request, error: Exception) -> Problem:
    assert isinstance(error, ServiceError)
    status = STATUS_OF_ERROR.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s %s: %s", request.method, request.url.path, error)
    answer = problem(request, status, str(error), code=error.code, param=error.param)
    if isinstance(error, errors.Unauthenticated):
        answer.headers["WWW-Authenticate"] = 'Bearer realm="ai3-datafactory"'
    if isinstance(error, errors.Ended):
        answer.headers["x-should-retry"] = "false"  # OpenAI's clients repeat what is answered by a 409 otherwise
    if isinstance(error, errors.RateLimited):
        answer.headers.update(rate_limit_headers(error.limit, remaining=0, seconds=error.seconds))
        answer.headers["Retry-After"] = str(error.seconds)
    return answer


async def _invalid_request(request: Request, error: Exception) -> Problem:
    assert isinstance(error, RequestValidationError)
    details = error.errors()
    listed = [(_param(each["loc"]), _message(each)) for each in details[:MAX_ERRORS_LISTED]]
    detail = "; ".join(_clipped(f"{param}: {message}" if param else message) for param, message in listed)
    if len(details) > len(listed):
        detail += f"; and {len(details) - len(listed)} more, {len(details)} in all"
    return problem(request, 422, detail, code="invalid_request", param=listed[0][0])


async def _http_error(request: Request, error: Exception) -> Problem:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"There is no {request.method} {request.url.path}: see /docs for the routes."
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.url.path} does not take {request.method}: see /docs for its methods."
    code = "too_large" if error.status_code == 413 else HTTPStatus(error.status_code).name.lower()
    answer = problem(request, error.status_code, detail, code=code)
    answer.headers.update(error.headers or {})
    return answer


async def _database_error(request: Request, error: Exception) -> Problem:
    log.error("%s %s", request.method, request.url.path, exc_info=error)
    return problem(request, 503, "The database failed unexpectedly: try again.", code="database_unavailable")


async def _out_of_memory(request: Request, error: Exception) -> Problem:  # noqa: ARG001
    log.error("%s %s: %s", request.method, request.url.path, OUT_OF_MEMORY)
    return problem(request, 503, OUT_OF_MEMORY, code="overloaded")


async def _unexpected(request: Request, error: Exception) -> Problem:
    log.error("%s %s", request.method, request.url.path, exc_info=error)
    return problem(request, 500, UNEXPECTED, code="internal_error")


_HANDLERS: tuple[tuple[type[Exception], Handler], ...] = (
    (ServiceError, _service_error),
    (RequestValidationError, _invalid_request),
    (HTTPException, _http_error),
    (DriverError, _database_error),
    (MemoryError, _out_of_memory),
)


def _param(location: tuple[Any, ...]) -> str | None:
    """A field of the request, dotted, without the part that it is in (body, query)."""
    parts = [str(part) for part in location[1:] if not isinstance(part, int) or len(location) > 2]
    parts = parts[:-1] if parts[-1:] == ["[key]"] else parts  # an invalid key of an object
    return ".".join(part if len(part) <= MAX_PARAM_CHARS else f"{part[:MAX_PARAM_CHARS]}…" for part in parts) or None


def _message(each: Mapping[str, Any]) -> str:
    if each["type"] == "extra_forbidden":
        return "There is no such field: see /docs for the fields."
    return str(each["msg"]).removeprefix("Value error, ").replace(" after validation", "")


def _clipped(text: str) -> str:
    """An answer may quote the request, but not at length."""
    return text if len(text) <= MAX_MESSAGE_CHARS else f"{text[:MAX_MESSAGE_CHARS]}…"


def _printable(value: Any) -> Any:
    """A request may contain lone surrogates; an answer may not."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _printable(each) for key, each in value.items()}
    return [_printable(each) for each in value] if isinstance(value, list) else value
