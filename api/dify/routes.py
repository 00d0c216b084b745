"""How Dify's routes answer errors: {error_code, error_msg}, and 403 to whoever has no valid key.

Dify checks an endpoint by a request without a body, and takes every answer but 403, 404 and 502 for a good one.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.doors import DoorRoute
from api.problems import problem_of
from api.routing import Handler, StrictRequest
from api.statuses import Problem
from errors import Unauthenticated

MALFORMED_HEADER, REFUSED, NO_KNOWLEDGE = 1001, 1002, 2001
STATUSES = (400, 403, 404, 408, 409, 413, 415, 422, 429, 500, 503, 507)


class DifyErrorOut(BaseModel):
    """error_code is one of Dify's own, else the status."""

    error_code: int
    error_msg: str


class DifyRoute(DoorRoute):
    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        responses: dict[int | str, dict[str, Any]] = {status: {"model": DifyErrorOut} for status in STATUSES}
        super().__init__(path, endpoint, **{**options, "responses": responses | (options.get("responses") or {})})

    async def admitted(self, request: StrictRequest, handle: Handler) -> Response:
        try:
            return await super().admitted(request, handle)
        except Exception as error:
            return in_difys_form(request, await problem_of(request, error), error)


def in_difys_form(request: Request, problem: Problem, error: Exception) -> Response:
    """The problem as Dify reads it, with its headers but for those that describe the body."""
    is_stranger = isinstance(error, Unauthenticated)
    status = HTTPStatus.FORBIDDEN if is_stranger else HTTPStatus(problem.status_code)
    code = {HTTPStatus.FORBIDDEN: REFUSED, HTTPStatus.NOT_FOUND: NO_KNOWLEDGE}.get(status, int(status))
    if is_stranger and not request.headers.get("authorization", "").lower().startswith("bearer "):
        code = MALFORMED_HEADER
    kept = {name: value for name, value in problem.headers.items() if not name.startswith(("content-", "www-"))}
    return JSONResponse({"error_code": code, "error_msg": problem.error["message"]}, status, headers=kept)
