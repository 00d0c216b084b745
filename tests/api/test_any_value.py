"""Whatever stands in a parameter, of whatever route: it is taken or refused, and never an error of the service.

Each parameter gets some of the values, chosen by its name; HYPOTHESIS_PROFILE=thorough gives all to each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from app_v1 import create_app
from tests.support.examples import sample
from tests.support.routes import Route, resource_names, routes_of
from tests.support.service import PLACE, Service

HUGE = 10**4000
EACH = 8
TEXTS = [
    "",
    " ",
    "-1",
    "0",
    "1e400",
    "nan",
    "Infinity",
    "9" * 4000,
    "²",
    "١٢",
    "null",
    "%",
    "%zz%ff",
    "[",
    "\\ud800",
    "\ufeff",
    "0001-01-01",
    "9999-12-31",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "http://xn--/",
    "http://[::1/",
    "http://a:99999/",
    "http://a:²/",
    "//",
    "../..",
    "00000000-0000-0000-0000-000000000000",
    "x" * 5000,
]
VALUES: list[Any] = [
    *TEXTS,
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    -(2**63) - 1,
    HUGE,
    1e308,
    -1e308,
    5e-324,
    [],
    [None],
    [[]],
    {},
    {"": {}},
    {"a": HUGE},
    {"a": {"$gt": 1e308}},
    {"created_at": {"$lt": "0001-01-01T00:00:00+23:59"}},
]
KNOWN = {**PLACE, "doc_id": "doc", "job_id": "no-job", "key_id": "0" * 16}
KNOWN |= {"index_version": "other", "erasure_id": "no-erasure", "vector_store_id": "no-store"}
KNOWN |= {"file_id": "no-file", "batch_id": "no-batch", "upload_id": "no-upload", "webhook_id": "no-hook"}
KNOWN |= {"model": "acme/project_001", "knowledge_id": "acme/project_001"}


def requests(route: Route) -> Iterator[tuple[str, dict[str, Any]]]:
    """The good request of *route*, with one of its parameters replaced."""
    good = route.request(KNOWN)
    for each in route.operation.get("parameters", []):
        for text in sample(TEXTS, EACH, seed=f"{route} {each['name']}"):
            if each["in"] == "query":
                yield each["name"], {**good, "params": {**good["params"], each["name"]: text}}
            elif each["in"] == "header" and text.isascii():
                yield each["name"], {**good, "headers": {each["name"]: text}}
    for place in ("json", "data"):
        for field in route.body_fields() if place in good else ():
            for value in sample(VALUES if place == "json" else TEXTS, EACH, seed=f"{route} {field}"):
                yield field, {**good, place: {**good[place], field: value}}


def test_no_value_of_any_parameter_is_an_error_of_the_service(service: Service) -> None:
    """Of every route in the OpenAPI document; one that is new is asked too."""
    service.upsert("doc", "Cats sleep.")
    routes = routes_of(create_app().openapi())
    assert resource_names(routes) <= KNOWN.keys()
    failed = []
    for route in routes:
        for field, request in requests(route):
            answer = service.client.request(**request)
            if answer.status_code >= 500:
                failed.append((str(route), field, json.dumps(request, default=str)[:300], answer.text[:200]))
    assert not failed
