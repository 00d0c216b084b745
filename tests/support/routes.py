"""Builds a request for every route of the OpenAPI document, so that new routes are tested without being listed here.

A parameter is filled from known values by its name, from its example, or from its schema. Names of resources
(tenant_id, namespace and all path parameters) must be known: they are collected from the service's responses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from domain import Scope

Json = dict[str, Any]
NDJSON = "application/x-ndjson"
EXAMPLE = "doc_123"
PLACE = {"tenant_id", "namespace", "knowledge_id"}


OTHERS = frozenset({"openai", "dify", "librechat"})
"""Tags of the routes that speak the APIs of others."""


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    operation: Json
    document: Json

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def any_of(self) -> set[Scope]:
        """The scopes of which one is required; none if it is public."""
        security = self.operation["security"]
        return set() if {} in security else {Scope(each) for one in security for each in one["ApiKey"]}

    @property
    def takes_keys(self) -> bool:
        """Whether API keys open it, and no tokens of somebody else's."""
        return any("ApiKey" in each for each in self.operation["security"])

    @property
    def in_path(self) -> set[str]:
        return set(re.findall(r"{(\w+)}", self.path))

    def names(self, all_names: set[str]) -> list[str]:
        """Returns the resource names that a request of this route contains."""
        body = self._body_schema()
        in_parameters = {each["name"] for each in self.operation.get("parameters", [])}
        return sorted(all_names & (in_parameters | self.in_path | (_mentioned(body, self.document) if body else set())))

    def body_fields(self) -> list[str]:
        schema = self._body_schema()
        return list(resolved(schema, self.document).get("properties", {})) if schema else []

    def request(self, values_by_name: Mapping[str, Any]) -> Json:
        """Returns the arguments of httpx's request()."""
        missing = self.in_path - values_by_name.keys()
        assert not missing, f"{self}: no response of the service has a field {sorted(missing)} to fill the path with"
        parameters = {each["name"]: each for each in self.operation.get("parameters", [])}
        query = {
            name: self.filled(name, each["schema"], values_by_name)
            for name, each in parameters.items()
            if each["in"] == "query" and (each["required"] or name in values_by_name)
        }
        request: Json = {"method": self.method, "url": self.path.format(**values_by_name), "params": query}
        return request | self._body(values_by_name)

    def _body_schema(self) -> Json | None:
        content: Json = self.operation.get("requestBody", {}).get("content", {})
        return next(iter(content.values()))["schema"] if content else None

    def _body(self, values_by_name: Mapping[str, Any]) -> Json:
        schema = self._body_schema()
        if schema is None:
            return {}
        if "application/json" in self.operation["requestBody"]["content"]:
            return {"json": self.filled("body", schema, values_by_name)}
        fields = self.filled("body", schema, values_by_name)
        if NDJSON in self.operation["requestBody"]["content"]:
            return {"content": json.dumps(fields), "headers": {"Content-Type": NDJSON}}
        files = [(name, one) for name, value in fields.items() for one in _listed(value) if isinstance(one, tuple)]
        return {"files": files, "data": {name: value for name, value in fields.items() if name not in dict(files)}}

    def filled(self, name: str, schema: Json, values_by_name: Mapping[str, Any]) -> Any:
        if name in values_by_name:
            return values_by_name[name]
        if "examples" in schema:
            return _renamed(schema["examples"][0], {EXAMPLE: values_by_name.get("doc_id", EXAMPLE)})
        schema = resolved(schema, self.document)
        if "enum" in schema or "const" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        kind = schema.get("type")
        if kind == "object":
            properties = {
                each: of for each, of in schema.get("properties", {}).items()
                if each in schema.get("required", []) or each in values_by_name or "examples" in of
            }  # fmt: skip
            return {each: self.filled(each, of, values_by_name) for each, of in properties.items()}
        if kind == "array":
            return [self.filled("item", schema["items"], values_by_name)]
        if kind == "string":
            return _string(schema)
        if kind in ("integer", "number"):
            return schema.get("minimum", 1)
        assert kind == "boolean", f"{self}: cannot fill {name!r}: {schema}"
        return False


def _renamed(example: Any, names: Mapping[str, Any]) -> Any:
    """Replaces keys of an example, such as the doc_id in it, by *names*."""
    if isinstance(example, dict):
        return {names.get(key, key): _renamed(value, names) for key, value in example.items()}
    return example


def routes_of(document: Json) -> list[Route]:
    return [
        Route(method.upper(), path, operation, document)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def resource_names(routes: list[Route]) -> set[str]:
    return PLACE.union(*(route.in_path for route in routes))


def names_in_answer(answer: Any, names: set[str]) -> Iterator[tuple[str, Any]]:
    """Yields every resource name in a response, with its value."""
    if isinstance(answer, dict):
        for name, value in answer.items():
            if name in names and isinstance(value, str | int):
                yield name, value
            yield from names_in_answer(value, names)
    elif isinstance(answer, list):
        for each in answer:
            yield from names_in_answer(each, names)


def resolved(schema: Json, document: Json) -> Json:
    """Resolves references; of alternatives it takes the first that is not null."""
    while True:
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        elif one := schema.get("anyOf", schema.get("oneOf", schema.get("allOf"))):
            schema = next(each for each in one if each.get("type") != "null")
        else:
            return schema


def _mentioned(schema: Json, document: Json) -> set[str]:
    schema = resolved(schema, document)
    if "items" in schema:
        return _mentioned(schema["items"], document)
    properties: Json = schema.get("properties", {})
    return set(properties).union(*(_mentioned(each, document) for each in properties.values()))


def _string(schema: Json) -> Any:
    if schema.get("format") == "binary" or "contentMediaType" in schema:
        return ("cats.txt", b"Cats sleep all day.", "text/plain")
    if schema.get("format") == "date-time":
        return "2100-01-01T00:00:00Z"
    return "https://example.org/cats" if schema.get("format") == "uri" else "Cats sleep all day."


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
