"""The arguments of each tool, and the schema that an assistant reads of them, with every word that can be spared."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from api.fields import RequestBody
from api.strings import DocKey, DocName, DocText, JsonObject, Line, Name, QueryText, Title, Word
from domain import Mode

MOST_RESULTS, MOST_LISTED = 20, 200
MOST_CHARS = 20_000
SPARED = ("title", "x-setting", "minLength")
"""What a schema says that helps no assistant to call a tool."""

OtherNamespace = Annotated[Name | None, Field(description="Optional if there is only one")]


class SearchArguments(RequestBody):
    query: QueryText
    namespace: OtherNamespace = None
    top_k: int = Field(5, ge=1, le=MOST_RESULTS)
    mode: Mode | None = Field(None, description="Default: the service's")
    filters: dict[str, Any] | None = Field(None, description='On metadata: {"year": {"$gte": 2020}}')
    offset: int = Field(0, ge=0, le=1000, description="next_offset of the results before")


class FetchArguments(RequestBody):
    id: DocKey = Field(description="id of a result")
    offset: int = Field(0, ge=0, le=2**31, description="First character")
    max_chars: int = Field(8000, ge=1, le=MOST_CHARS)


class AskArguments(RequestBody):
    question: QueryText
    namespace: OtherNamespace = None
    filters: dict[str, Any] | None = Field(None, description="As in search")


class ListNamespacesArguments(RequestBody):
    pass


class ListDocumentsArguments(RequestBody):
    namespace: OtherNamespace = None
    limit: int = Field(50, ge=1, le=MOST_LISTED)
    after: DocKey | None = Field(None, description="next_after of the page before")


class AddDocumentArguments(RequestBody):
    doc_id: DocName = Field(description="A name that you choose; an existing document is replaced")
    text: DocText | None = Field(None, description="Either this or url")
    url: Annotated[Line, Field(max_length=4096)] | None = Field(None, description="A page or file to fetch")
    namespace: OtherNamespace = None
    title: Title | None = None
    metadata: JsonObject = Field(default_factory=dict)


class DeleteDocumentArguments(RequestBody):
    doc_id: DocName
    namespace: OtherNamespace = None


class JobStatusArguments(RequestBody):
    job_id: Word


def schema_of(arguments: type[RequestBody]) -> dict[str, Any]:
    schema = arguments.model_json_schema()
    properties = {name: _shortened(each) for name, each in schema["properties"].items()}
    required = {"required": schema["required"]} if "required" in schema else {}
    return {"type": "object", "properties": properties, **required, "additionalProperties": False}


def _shortened(schema: dict[str, Any]) -> dict[str, Any]:
    """What may be left out has no need to say that it may be null."""
    alternatives = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    whole = {**schema, **alternatives[0]} if len(alternatives) == 1 else schema
    is_optional = "default" in whole and whole["default"] is None
    spared = {*SPARED, *(("default", "anyOf") if is_optional or alternatives else ())}
    return {name: value for name, value in whole.items() if name not in spared}
