"""Finds every place of a request that takes a string, from the OpenAPI document, so that new ones are tested too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from tests.support.routes import Json, Route, resolved

BuildValue = Callable[[str], Any]
BOUNDARY = b"of-the-form"
MAX_HEADER_CHARS = 50_000
"""Longest head that the server accepts, roughly."""


@dataclass(frozen=True)
class StringSlot:
    """*request* returns the arguments of httpx's request() with a string in this place."""

    route: Route
    name: str
    request: Callable[[str], Json]

    def __str__(self) -> str:
        return f"{self.route} {self.name}"


def string_slots_of(route: Route, values_by_name: Mapping[str, Any]) -> Iterator[StringSlot]:
    base = {name: value for name, value in route.request(values_by_name).items() if name in ("method", "url", "params")}
    for parameter in route.operation.get("parameters", []):
        name, kind = parameter["name"], parameter["in"]
        if kind in ("query", "path", "header") and any(
            True for _ in _strings(route, parameter["schema"], values_by_name)
        ):
            yield StringSlot(route, f"{kind} {name}", _parameter(route, base, name, kind, values_by_name))
    content = route.operation.get("requestBody", {}).get("content", {})
    base = {"method": base["method"], "url": f"{base['url']}?{urlencode(base['params'])}"}
    if "application/json" in content:
        for name, make in _strings(route, content["application/json"]["schema"], values_by_name):
            yield StringSlot(route, f"body{name}", _with_json(base, make))
    for form in (media["schema"] for kind, media in content.items() if kind.startswith("multipart/")):
        for name, make in _fields(route, form, values_by_name):
            yield StringSlot(route, f"form {name}", _with_form(base, make))


def _parameter(
    route: Route, base: Json, name: str, kind: str, values_by_name: Mapping[str, Any]
) -> Callable[[str], Json]:
    def request(text: str) -> Json:
        raw = text.encode("utf-8", "surrogatepass")[:MAX_HEADER_CHARS]
        path = {each: quote(str(value), safe="") for each, value in values_by_name.items()}
        query: dict[str, Any] = dict(base["params"])
        headers: dict[str, bytes] = {}
        if kind == "path":
            path[name] = quote(raw, safe="")
        elif kind == "query":
            query[name] = raw
        else:
            headers[name] = raw
        filled = {**base, **route.request(values_by_name), "url": f"{route.path.format(**path)}?{urlencode(query)}"}
        return {**filled, "params": None, "headers": headers}

    return request


def _with_json(base: Json, make: BuildValue) -> Callable[[str], Json]:
    headers = {"Content-Type": "application/json"}
    return lambda text: {**base, "content": json.dumps(make(text)).encode(), "headers": headers}


def _with_form(base: Json, make: Callable[[str], list[tuple[str, bytes]]]) -> Callable[[str], Json]:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}

    def request(text: str) -> Json:
        parts = [
            b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n"
            % (BOUNDARY, head.encode("utf-8", "surrogatepass"), body)
            for head, body in make(text)
        ]
        return {**base, "content": b"".join(parts) + b"--%s--\r\n" % BOUNDARY, "headers": headers}

    return request


def _fields(
    route: Route, form: Json, values_by_name: Mapping[str, Any]
) -> Iterator[tuple[str, Callable[[str], list[tuple[str, bytes]]]]]:
    """Yields each field, the file's name and its declared type."""
    fields = {"tenant_id": values_by_name["tenant_id"], "namespace": values_by_name["namespace"]}

    def parts(head: str, **changed: str) -> list[tuple[str, bytes]]:
        values = {**fields, **changed}
        encoded = [(f'name="{name}"', value.encode("utf-8", "surrogatepass")) for name, value in values.items()]
        return [*encoded, (f'name="file"; {head}', b"Cats sleep all day.")]

    def with_field(name: str) -> Callable[[str], list[tuple[str, bytes]]]:
        return lambda text: parts(plain, **{name: text})

    plain = 'filename="cats.txt"'
    for name in form["properties"].keys() - {"file"}:
        if any(True for _ in _strings(route, form["properties"][name], values_by_name)):
            yield name, with_field(name)
    yield "metadata as JSON", lambda text: parts(plain, metadata=json.dumps({text: {"deep": [text]}}))
    yield "filename", lambda text: parts(f'filename="{_unbroken(text)}"')
    yield "type", lambda text: parts(f"{plain}\r\nContent-Type: text/plain; a={_unbroken(text)}")


def _unbroken(text: str) -> str:
    """Removes line ends, which would end the head of a part."""
    return text.replace("\r\n", " ")


def _strings(route: Route, schema: Json, values_by_name: Mapping[str, Any]) -> Iterator[tuple[str, BuildValue]]:
    """Yields, for each place of a string in a value, a function that builds the value with a given string there."""
    schema = resolved(schema, route.document)
    kind = schema.get("type")
    if kind == "string":
        yield "", lambda text: text
    elif kind == "array":
        for name, make in _strings(route, schema["items"], values_by_name):
            yield f".0{name}", _within(make, lambda inner: [inner])
    elif kind == "object" and "properties" in schema:
        yield from _fields_of(route, schema, values_by_name)
    elif kind == "object" and isinstance(inner := schema["additionalProperties"], dict):
        filled = route.filled("value", inner, values_by_name)
        yield ".<key>", lambda text: {text: filled}
        for name, make in _strings(route, inner, values_by_name):
            yield f".q1{name}", _within(make, lambda inner: {"q1": inner})
    elif kind == "object":
        yield ".<key>", lambda text: {text: 1}
        yield ".<value>", lambda text: {"lang": text}
        yield ".<deep>", lambda text: {"lang": {"$in": [text, text]}}


def _fields_of(route: Route, schema: Json, values_by_name: Mapping[str, Any]) -> Iterator[tuple[str, BuildValue]]:
    base: Json = route.filled("body", schema, values_by_name)

    def beside(field: str) -> Callable[[Any], Json]:
        return lambda inner: _without_both({**base, field: inner})

    for field, inner in schema["properties"].items():
        for name, make in _strings(route, inner, values_by_name):
            yield f".{field}{name}", _within(make, beside(field))


def _within(make: BuildValue, around: Callable[[Any], Any]) -> BuildValue:
    return lambda text: around(make(text))


def _without_both(doc: Json) -> Json:
    """Drops the text of a document that has chunks: it may have only one of them."""
    return {name: value for name, value in doc.items() if name != "text" or "chunks" not in doc}
