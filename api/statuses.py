"""The status of each error, and the body of a problem: application/problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

import errors
from errors import ServiceError

STATUS_OF_ERROR: Mapping[type[ServiceError], HTTPStatus] = {
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Unstorable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.QuotaExceeded: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.DailyQuotaExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.Ended: HTTPStatus.CONFLICT,
    errors.VersionUnavailable: HTTPStatus.CONFLICT,
    errors.VersionMismatch: HTTPStatus.CONFLICT,
    errors.Gone: HTTPStatus.GONE,
    errors.PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    errors.EmbeddingRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Unreadable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.FetchDisabled: HTTPStatus.FORBIDDEN,
    errors.FetchFailed: HTTPStatus.BAD_GATEWAY,
    errors.BlobStoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ModelUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.RerankerUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.LlmUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.LlmFailed: HTTPStatus.BAD_GATEWAY,
    errors.LlmTooSlow: HTTPStatus.GATEWAY_TIMEOUT,
    errors.DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Interrupted: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.IndexStoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
}
UNEXPECTED = "The service failed unexpectedly. Its log has the details under this answer's X-Request-ID."


class Problem(JSONResponse):
    media_type = "application/problem+json"
    error: dict[str, Any]

    def render(self, content: Any) -> bytes:
        self.error = content["error"]
        return super().render(content)


def body_of(status: int, detail: str, *, code: str, instance: str, param: str | None = None) -> dict[str, Any]:
    """RFC 9457, and beside it the shape that OpenAI clients read."""
    title = HTTPStatus(status).phrase
    return {
        "type": f"urn:ai3-datafactory:error:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        "error": {"message": detail, "type": title.lower().replace(" ", "_"), "param": param, "code": code},
    }
