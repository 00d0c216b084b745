"""The answers of each route, for the OpenAPI document: every status with its content type and its headers.

A route declares its own errors with @raises; those of every route are listed here. Statuses and codes follow from the
errors, as statuses.py maps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, Field

import errors
from api.headers import RATE_LIMIT
from api.statuses import STATUS_OF_ERROR, UNEXPECTED, Problem, body_of
from api.strings import schemas_in
from errors import ServiceError

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Schema = dict[str, Any]

ANYWHERE = (errors.Invalid, errors.TooLarge, errors.DatabaseUnavailable, errors.StorageFull)
WITH_KEYS = (errors.Unauthenticated, errors.Forbidden, errors.RateLimited)
KEYS_ALONE = "Only with AUTH_MODE=keys."
EMBEDDING = (errors.ModelUnavailable, errors.VersionUnavailable, errors.EmbeddingRefused)
QUOTAS = (errors.QuotaExceeded, errors.DailyQuotaExceeded)
INTERNAL = "internal_error"
OF_BODIES: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "The body breaks off, or is not what its Content-Encoding says."),
    408: ("request_timeout", "The body stopped, or came too slowly."),
    415: ("unsupported_media_type", "The body comes in an encoding that is not read: send it as it is, or as gzip."),
}
"""Of every request: what is answered before its route is found."""


class ErrorOut(BaseModel):
    """The same in the shape of OpenAI's errors."""

    message: str
    type: str
    param: str | None = Field(description="The field of the request that is wrong")
    code: str


class ProblemOut(BaseModel):
    """RFC 9457. detail says what is wrong and what to do; error.code is for programs."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    error: ErrorOut


HEADERS: Mapping[str, Schema] = {
    name: {"description": description, "schema": {"type": kind}}
    for name, kind, description in (
        ("X-Request-ID", "string", "The request's own, else a new one; log lines have it too"),
        ("Location", "string", "The job that continues the request, if there is one"),
        ("ETag", "string", "A hash of the content"),
        ("Retry-After", "integer", "Seconds to wait before trying again"),
        ("WWW-Authenticate", "string", "How to send an API key"),
        (
            "RateLimit-Limit",
            "integer",
            "Requests that may be sent, or chunks embedded in a day; only if a limit is set",
        ),
        ("RateLimit-Remaining", "integer", "Requests left"),
        ("RateLimit-Reset", "integer", "Seconds until the limit is reset"),
    )
}
_HEADERS_OF: Mapping[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After", *RATE_LIMIT),
    503: ("Retry-After",),
}


PUBLIC_NAMES = {
    "DocumentChunkOut": "api__documents__ChunkOut",
    "PartitionOut": "api__indexes__IndexOut",
    "PassageOut": "api__search__ChunkOut",
    "SearchedIndexOut": "api__search__IndexOut",
    "NewKeyOut": "MadeKeyOut",
}
"""Schemas that clients know under other names than our classes: generated clients are made of these names."""


def raises(*kinds: type[ServiceError]) -> Callable[[Endpoint], Endpoint]:
    """Stands below @needs: the errors of this route besides those of every route."""

    def declare(endpoint: Endpoint) -> Endpoint:
        vars(endpoint)["raises"] = kinds
        return endpoint

    return declare


def answers_of(endpoint: Callable[..., Any], *, is_open: bool, also: Iterable[type[ServiceError]]) -> dict[int, Schema]:
    """The problems of a route by their status. *is_open*: the route needs no key."""
    keyed = (errors.RateLimited,) if is_open else WITH_KEYS
    others = (*ANYWHERE, *also, *vars(endpoint).get("raises", ()))
    codes: dict[int, dict[str, str]] = {HTTPStatus.INTERNAL_SERVER_ERROR: {INTERNAL: UNEXPECTED}}
    for kind in (*keyed, *others):
        codes.setdefault(STATUS_OF_ERROR[kind], {})[kind.code] = str(kind.__doc__).partition("\n")[0]
    for status, (code, meaning) in OF_BODIES.items():
        codes.setdefault(HTTPStatus(status), {})[code] = meaning
    always = {
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.TOO_MANY_REQUESTS,
        *OF_BODIES,
        *(STATUS_OF_ERROR[kind] for kind in others),
    }
    return {
        int(status): _problem(status, codes[status], note="" if status in always else KEYS_ALONE)
        for status in sorted(codes)
    }


def merged(problems: Mapping[int, Schema], others: Mapping[int | str, Schema]) -> dict[int | str, Schema]:
    """A status may be a problem or something else."""
    answers = dict(others)
    for status, problem in problems.items():
        other = others.get(status, {})
        answers[status] = {**problem, **other, "content": {**problem["content"], **other.get("content", {})}}
    return answers


def with_headers(*names: str, status: int = 200) -> dict[int | str, Schema]:
    """For the *responses* of a route that answers *status* with these."""
    return {status: {"headers": _references(names)}}


def complete(document: Schema) -> None:
    """Add the components that all answers share, and the headers of each."""
    schemas = ProblemOut.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    document["components"]["schemas"] |= {**schemas.pop("$defs"), "ProblemOut": schemas}
    document["components"]["headers"] = dict(HEADERS)
    _use_public_names(document)
    for operation in (each for path in document["paths"].values() for each in path.values()):
        for status, answer in operation["responses"].items():
            quota = RATE_LIMIT if status.startswith("2") else ()
            for content in answer.get("content", {}).values():
                for example in content.get("examples", {}).values():
                    example["value"]["error"].setdefault("param", None)  # FastAPI leaves null out
            answer["headers"] = {**_references(("X-Request-ID", *quota)), **answer.get("headers", {})}


def _use_public_names(document: Schema) -> None:
    schemas, start = document["components"]["schemas"], "#/components/schemas/"
    for name, public in PUBLIC_NAMES.items():
        schemas[public] = {**schemas.pop(name), "title": public.rpartition("__")[2]}
    references = {start + name: start + public for name, public in PUBLIC_NAMES.items()}
    for each in schemas_in(document):
        if "$ref" in each:
            each["$ref"] = references.get(each["$ref"], each["$ref"])


def _problem(status: int, codes: Mapping[str, str], *, note: str) -> Schema:
    """*codes* with the meaning of each."""
    title = HTTPStatus(status).phrase
    examples = {code: {"value": body_of(status, detail, code=code, instance="/v1/…")} for code, detail in codes.items()}
    content = {"schema": {"$ref": "#/components/schemas/ProblemOut"}, "examples": examples}
    headers = _references(_HEADERS_OF.get(status, ()))
    return {
        "description": f"{title}: {', '.join(codes)}. {note}".strip(),
        "content": {Problem.media_type: content},
        **({"headers": headers} if headers else {}),
    }


def _references(names: Iterable[str]) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
