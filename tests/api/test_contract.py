"""Generated requests, right ones and wrong ones: each answer is one that the OpenAPI document names, and never a 5xx.

    CONTRACT_CASES=40 python -m pytest tests/api/test_contract.py

sends so many to each operation, open and with keys; without the variable a few, always the same.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from requests import Session
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.python.asgi import get_client, shutdown_lifespans
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app_v1 import create_app
from domain import ANYONE, Scope
from runtime.opening import open_runtime
from runtime.parts import Runtime
from tests.support.routes import NDJSON, routes_of
from tests.support.service import settings_in

CASES = int(os.environ.get("CONTRACT_CASES", "6"))
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
DOCUMENT = create_app().openapi()
ROUTES = {str(route): route for route in routes_of(DOCUMENT)}
OPERATIONS = sorted(ROUTES, key=lambda name: (name.startswith("DELETE"), name))

# What is mended elsewhere: an operation and what its request has in it.
KNOWN_FAULTS: list[tuple[str, str]] = []


@schemathesis.serializer(NDJSON)
def as_a_line(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@dataclass(frozen=True)
class Target:
    """The service in one mode, and what there is in it. No request knows the id of *key*, so none can end it."""

    session: Session
    schema: Any
    known: dict[str, str]
    key: str | None

    def send(self, case: Case[Any]) -> None:
        """Three of four name what is there; of these, every second one has a right body but for a field or two."""
        spice = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode("utf-8", "replace"))
        if spice % 4:
            _name_what_is_there([case.path_parameters, case.query, case.body], self.known)
        if spice % 2 and isinstance(case.body, dict):
            right = ROUTES[case.operation.label].request({**self.known, "key_id": "0" * 16}).get("json", case.body)
            case.body = {**right, **dict(islice(case.body.items(), spice % 3))}
        if spice % 16:
            case.headers.pop("Authorization", None)
            case.headers.update({"Authorization": f"Bearer {self.key}"} if self.key else {})
        answer = case.call(session=self.session)
        case.validate_response(answer, checks=CHECKS)


@pytest.fixture(scope="module", params=["open", "keys"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    used = settings_in(tmp_path_factory.mktemp(request.param), auth_mode=request.param, max_text_chars=20_000)
    app = create_app(used)
    with get_client(cast(Any, app)) as session, open_runtime(used) as runtime:
        runtime.accounts.teams.create_team("keeper")
        key = issue_key(runtime) if request.param == "keys" else None
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        yield Target(session, schema, furnished(session, key), key)
    shutdown_lifespans()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_answer_is_one_that_the_document_names(target: Target, operation: str) -> None:
    method, path = operation.split()
    right, wrong = (target.schema[path][method].as_strategy(generation_mode=mode) for mode in GenerationMode)

    @settings(
        max_examples=CASES,
        derandomize="CONTRACT_CASES" not in os.environ,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=right | wrong)
    def send(case: Case[Any]) -> None:
        if not any(operation == each and sign in repr(case.query) for each, sign in KNOWN_FAULTS):
            target.send(case)

    send()


def issue_key(runtime: Runtime) -> str:
    issued = runtime.accounts.keys.issue("keeper", name="", scopes=[Scope.OPERATOR], expires_at=None, by=ANYONE)
    return issued.key


def furnished(session: Session, key: str | None) -> dict[str, str]:
    """One of each thing that a request can name."""
    place = {"tenant_id": "keeper" if key else "acme", "namespace": "place"}
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    def post(path: str, body: dict[str, Any]) -> Any:
        answer = session.post(f"http://testserver/v1{path}", json=body, headers=headers)
        assert answer.ok, answer.text
        return answer.json()

    if key:
        post("/teams/keeper/projects", {"namespace": "place"})
    post("/docs/upsert", {**place, "doc_id": "doc", "text": "Cats sleep."})
    job = post("/index/rebuild", place)["job_id"]
    post("/index/versions", {**place, "name": "two", "prompts": {"document": "About cats: "}})
    known = {**place, "doc_id": "doc", "job_id": job, "index_version": "two"}
    hook = {"tenant_id": place["tenant_id"], "url": "https://93.184.216.34/hook"}
    known["webhook_id"] = post("/webhooks", hook)["webhook_id"]
    known |= openai_objects(session, headers, post)
    name = "place" if key else "acme/place"
    known |= {"model": name, "knowledge_id": name}
    if key:
        post("/teams", {"tenant_id": "acme"})
        known["key_id"] = post("/teams/keeper/api-keys", {"scopes": ["search"]})["key_id"]
    return known


def openai_objects(session: Session, headers: dict[str, str], post: Any) -> dict[str, str]:
    url, form = "http://testserver/v1/files", {"purpose": "assistants"}
    answer = session.post(url, data=form, files={"file": ("cats.txt", b"Cats in a file.")}, headers=headers)
    file, store = answer.json()["id"], post("/vector_stores", {"name": "store"})["id"]
    batch = post(f"/vector_stores/{store}/file_batches", {"file_ids": [file]})["id"]
    announced = {"filename": "cats.txt", "purpose": "assistants", "bytes": 15, "mime_type": "text/plain"}
    upload = post("/uploads", announced)["id"]
    return {"file_id": file, "vector_store_id": store, "batch_id": batch, "upload_id": upload}


def _name_what_is_there(parts: list[Any], known: dict[str, str]) -> None:
    for part in parts:
        if isinstance(part, dict):
            for name in known.keys() & part.keys():
                if isinstance(part[name], str):
                    part[name] = known[name]
            _name_what_is_there([each for each in part.values() if isinstance(each, list)], known)
        elif isinstance(part, list):
            _name_what_is_there(part, known)
