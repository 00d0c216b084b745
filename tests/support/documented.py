"""Requires every response in tests to be documented by OpenAPI, with its status and content type."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from app_v1 import create_app
from tests.support.routes import Json

CLIENT_CLOSED_REQUEST = 499


def require_documented(answer: Any) -> None:
    """A response hook of a client. Paths that are not routes are ignored."""
    path = answer.request.url.raw_path.partition(b"?")[0].decode()
    operation = _operation(answer.request.method, path)
    if operation is None or answer.status_code == CLIENT_CLOSED_REQUEST:
        return
    response = f"{answer.request.method} {path} answers {answer.status_code}"
    documented = operation["responses"].get(str(answer.status_code))
    assert documented is not None, f"{response}, which the OpenAPI document does not name: add its error to @raises"
    kinds = documented.get("content", {}).keys()
    kind = answer.headers.get("content-type", "").partition(";")[0]
    assert kind in kinds or "*/*" in kinds, f"{response} as {kind}; the OpenAPI document names {sorted(kinds)}"


def _operation(method: str, path: str) -> Json | None:
    for pattern, operations in _paths():
        if pattern.fullmatch(path) and method.lower() in operations:
            operation: Json = operations[method.lower()]
            return operation
    return None


@cache
def _paths() -> list[tuple[re.Pattern[str], Json]]:
    """Returns the paths in matching order: those that end with a doc_id, which may contain slashes, are last."""
    paths = create_app().openapi()["paths"]
    ordered = sorted(paths, key=lambda path: (path.endswith("{doc_id}"), "{doc_id}" in path))
    patterns = {
        path: re.sub(r"{(\w+)}", lambda name: ".+" if name[1] == "doc_id" else "[^/]+", path) for path in ordered
    }
    return [(re.compile(pattern), paths[path]) for path, pattern in patterns.items()]
