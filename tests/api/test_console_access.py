"""Every screen of the console, asked by a session of another team."""

from __future__ import annotations

import re
from typing import Any

import pytest

from api.console.routing import ConsoleRoute
from domain import Scope
from tests.api.test_access import Known, World, page
from tests.support.accounts import keyed
from tests.support.console import Visitor, reads, writes
from tests.support.service import Service

__all__ = ["keyed", "page"]

OWN_ALONE = {"/console", "/console/sign-in", "/console/sign-out", "/console/keys", "/console/audit"}
"""They are about the session's own team, whatever a request names."""

EMPTY_FORM = "/console/playground"
LISTS_OF_A_TENANT = {"/console/usage", "/console/erasures"}
SENT = ("tenant_id", "namespace", "doc_id", "key_id", "index_version")
TIME = re.compile(r"<time.*?</time>|token\" value=\"\w+\"|\d+(?:\.\d+)? ms|\d+\.\d\d\d?")


@pytest.fixture
def world(keyed: Service, page: str) -> World:
    return World(keyed, page)


def test_what_another_team_has_looks_like_what_nobody_has(world: World) -> None:
    theirs, own = world.owned(world.one), world.owned(world.other)
    visitor = Visitor.with_key(world.other.service, world.other.keys[Scope.ADMIN])
    before = world.readings_of(world.one, theirs)
    for route in sorted([*reads(), *writes()], key=lambda route: route.path.endswith("/upload")):
        if route.path in ("/console/sign-out", "/console/sign-in"):
            continue
        for names in [*((name,) for name in _names(route)), _names(route)]:
            absent = world.absent()
            real, unreal = ({**own, **{name: each[name] for name in names}} for each in (theirs, absent))
            answer, compared = (_answer_to(visitor, route, values) for values in (real, unreal))
            assert answer.status_code < 500, answer.text
            assert _view(answer, real, names) == _view(compared, unreal, names), f"{route.path}: {names}"
    assert world.readings_of(world.one, theirs) == before
    texts = [_answer_to(visitor, route, own).text for route in reads()]
    assert [name for name, value in theirs.items() if name != "url" and any(str(value) in text for text in texts)] == []


def test_the_same_names_lead_their_own_team_to_what_it_has(world: World) -> None:
    """Else the test above would see nothing."""
    admin = Visitor.with_key(world.one.service, world.one.keys[Scope.OPERATOR])
    shared = world.owned(world.one)
    for route in [*reads(), *writes()]:
        is_form = route.path == EMPTY_FORM and "GET" in (route.methods or ())
        if is_form or route.path in OWN_ALONE | LISTS_OF_A_TENANT:
            continue
        known = world.owned(world.one) if "POST" in (route.methods or ()) else shared
        absent = {**world.absent(), "tenant_id": world.one.name}
        answer, missed = (_answer_to(admin, route, values) for values in (known, absent))
        assert answer.status_code in (200, 303, 409), f"{route.path} does not find its own: {answer.text}"
        assert _view(answer, known, list(known)) != _view(missed, absent, list(absent)), route.path


def _names(route: ConsoleRoute) -> tuple[str, ...]:
    """Those that the route looks at: of what it ignores, a write would be done twice."""
    its_own = {"/document": "doc_id", "/revoke": "key_id", "/activate": "index_version"}
    more = [name for part, name in its_own.items() if part in route.path and route.path != "/console/documents/upload"]
    return (*re.findall(r"{(\w+)}", route.path), "tenant_id", "namespace", *more)


def _answer_to(visitor: Visitor, route: ConsoleRoute, known: Known) -> Any:
    path = route.path.format(**known)
    sent = {name: known[name] for name in SENT if name in known}
    if "GET" in (route.methods or ()):
        return visitor.get(path, expect=None, **sent)
    file = ("cats.txt", b"Cats.") if path.endswith("/upload") else None
    fields = (
        {"query": "cats", "name": "built", "document_prompt": "built: ", "dense": "1"}
        if not path.endswith("/upload")
        else {}
    )
    if path.endswith("/upload"):
        sent = {name: value for name, value in sent.items() if name in ("tenant_id", "namespace", "doc_id")}
    return visitor.post(path, expect=None, file=file, **{**fields, **sent})


def _view(answer: Any, known: Known, names: Any) -> tuple[Any, ...]:
    text = f"{answer.headers.get('location')}\n{answer.text}"
    for name in sorted(names, key=lambda name: -len(str(known[name]))):
        text = text.replace(str(known[name]), f"<{name}>")
    was_changed = answer.request.method == "POST" and (answer.status_code == 303 or "/keys" in answer.request.url.path)
    return answer.status_code, sorted(answer.headers), None if was_changed else TIME.sub("", text)
