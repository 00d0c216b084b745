"""What a route may ask for."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Path, Query, Request
from pydantic import Field

from errors import Invalid
from runtime import Runtime


def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.state.runtime
    return runtime


def _doc_id(doc_id: Annotated[str, Path(description="Percent-encode what is not a letter or a digit")]) -> str:
    try:
        return unquote(doc_id, errors="strict")
    except UnicodeDecodeError as error:
        raise Invalid("The doc_id in the URL is not percent-encoded UTF-8.", param="doc_id") from error


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
InRuntime = Annotated[Runtime, Depends(_runtime)]
DocId = Annotated[str, Depends(_doc_id)]
TenantId = Annotated[str, Query(min_length=1)]
Namespace = Annotated[str, Query(min_length=1)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most rows in the answer")]
After = Annotated[str | None, Query(description="next_cursor of the page before")]


def unquoted_etag(value: str | None) -> str | None:
    """The content hash in an If-Match header."""
    return value.strip().removeprefix("W/").strip('"') if value else None
