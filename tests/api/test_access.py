"""Every route of the service, asked by strangers, by keys that may too little, and by another team."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, combinations
from threading import Thread
from typing import Any

import pytest
from fastapi import APIRouter

from api.routing import StrictRoute
from domain import Scope, with_included
from tests.support.accounts import TeamClient, keyed, make_team
from tests.support.examples import is_thorough
from tests.support.routes import PLACE, Route, names_in_answer, resource_names, routes_of
from tests.support.service import Service

__all__ = ["keyed"]

Known = dict[str, Any]

# The names that are nearest to a misspelt one differ with it. They are the caller's own.
OPEN = {"/v1/health", "/v1/health/live", "/v1/health/ready"}
SUGGESTED = re.compile(r"(?:Did you mean|It has) [^?.]*[?.] ")


EMBEDDINGS = "/v1/embeddings"
"""Its model is the service's, and no tenant's."""

GIVES_NAMES = "POST /v1/teams/{tenant_id}/projects"
"""Whoever names another's namespace here gets one of that name, which is then suggested to them."""

NAMESPACES = ("model", "knowledge_id")
"""What other products' APIs call a namespace."""

CONFIRMED = {"DELETE /v1/teams/{tenant_id}", "DELETE /v1/teams/{tenant_id}/projects/{namespace}"}
"""They ask for the name once more, which nobody sends here."""


class World:
    """Two teams that each have one of everything that a route can name."""

    def __init__(self, service: Service, url: str) -> None:
        self.client, self.url = service.client, url
        routes = routes_of(service.client.get("/openapi.json").json())
        self.routes = [route for route in routes if route.takes_keys]
        self.names = resource_names(self.routes)
        self.one, self.other = make_team(service, "team-one"), make_team(service, "team-other")
        self._count = 0

    def absent(self) -> Known:
        """What nobody has, and nobody was asked for before."""
        self._count += 1
        names = {name: f"{self._count:016x}" if name == "key_id" else f"no-{name}-{self._count}" for name in self.names}
        return {**names, "url": self.url}

    def owned(self, team: TeamClient) -> Known:
        """A new namespace with a document, a job and a key in it, and whatever else answers of the service name."""
        self._count += 1
        known: Known = {
            "tenant_id": team.name,
            "namespace": f"{team.name}-namespace-{self._count}",
            "doc_id": f"{team.name}-document-{self._count}",
            "index_version": f"{team.name}-version-{self._count}",
            "url": f"{self.url}?of={team.name}-{self._count}",
        }
        known |= dict.fromkeys(NAMESPACES, known["namespace"])
        team.post(f"{team.own}/projects", {"namespace": known["namespace"]}, expect=201)
        place = {name: known[name] for name in ("tenant_id", "namespace", "doc_id")}
        doc = {**place, "text": f"The cats of {team.name}."}
        team.post("/v1/docs/upsert", doc)
        for hook in team.get("/v1/webhooks")["data"]:  # a team has 50 at most
            team.ask("DELETE", f"/v1/webhooks/{hook['webhook_id']}")
        answers = [
            team.post("/v1/docs/upsert/batch", {"docs": [{**doc, "text": "Later."}], "async_mode": True}),
            team.post(f"{team.own}/api-keys", {"scopes": ["search"]}, expect=201),
            team.post("/v1/webhooks", {"url": known["url"]}, expect=201),
            team.post("/v1/erasures", {**_without(place, "doc_id"), "doc_ids": ["nothing"]}, expect=202),
            team.ask(
                "POST", "/v1/docs/upload", data=place, files={"file": ("cats.txt", b"Cats in a file.")}, expect=200
            ),
        ]
        known |= _openai_objects(team, known["namespace"])
        version = {"name": known["index_version"], "prompts": {"document": f"Of {team.name}: "}}
        building = {"tenant_id": team.name, "namespace": known["namespace"], **version}
        team.ask("POST", "/v1/index/versions", json=building, scope=Scope.OPERATOR, expect=202)
        self._learn(known, answers)
        for route in self.routes:
            if self.names - known.keys() and route.method in ("GET", "POST") and route.in_path <= known.keys():
                self._learn(known, [_json(team.ask(**route.request(known)))])
        return known

    def readings_of(self, team: TeamClient, known: Known) -> list[str]:
        """What the team reads, everywhere; without the uses of its keys, which are written once a minute, and without
        its export, which is recorded.
        """
        reading = [route for route in self.routes if route.method == "GET" and not route.path.endswith("/export")]
        texts = [team.ask(**route.request(known)).text for route in reading]
        return [re.sub(r'"last_used_at":(?:null|"[^"]*")', "", text) for text in texts]

    def restricted(self, team: TeamClient, kind: str, limits: Known) -> str:
        """A key with these limits; a derived one comes from a key without."""
        path = f"{team.own}/api-keys"
        if kind != "derived":
            return str(team.post(path, {"scopes": ["search"], **limits}, expect=201)["key"])
        parent = team.post(path, {"scopes": ["search"]}, expect=201)["key_id"]
        return str(team.post(f"{path}/{parent}/derive", {"expires_in_seconds": 60, **limits}, expect=201)["key"])

    def hide(self, team: TeamClient, known: Known) -> str:
        """A document of the board beside the known one, with a file, live, and replaced by one that waits."""
        self._count += 1
        doc_id = f"board-document-{self._count}"
        place = {name: known[name] for name in ("tenant_id", "namespace")} | {"doc_id": doc_id}
        board = {"metadata": {"department": "board", "minutes": self._count}}
        team.post("/v1/docs/upsert", {**place, "text": "Cats sail the seven seas at sea.", **board})
        data = {**place, "metadata": json.dumps(board["metadata"])}
        team.ask("POST", "/v1/docs/upload", data=data, files={"file": ("sea.txt", b"Cats at sea.")}, expect=200)
        return doc_id

    def ask(self, route: Route, known: Known, key: str) -> Any:
        request = route.request(known)
        headers = {"Authorization": f"Bearer {key}", **request.pop("headers", {})}
        return self.client.request(**request, headers=headers)

    def readings_with(self, key: str, known: Known) -> dict[str, tuple[int, str]]:
        """What a key that only reads is answered, everywhere, but for what differs each time.

        Scores of words depend on all documents of the namespace (docs/accounts.md).
        """
        answers = {str(route): self.ask(route, known, key) for route in self.routes}
        varying = re.compile(r'"(?:query_id|latency_ms|score)":[^,}]*')
        return {
            name: (answer.status_code, varying.sub("", answer.text))
            for name, answer in answers.items()
            if answer.headers.get("cache-control") != "no-store"
        }

    def _learn(self, known: Known, answers: list[Any]) -> None:
        for name, value in names_in_answer(answers, self.names):
            known.setdefault(name, value)


def restrictions(own: Known) -> dict[str, Known]:
    """By name, those that show the *own* document alone, and neither other namespaces nor documents of the board."""
    by_filter, by_name = {"filters": {"department": {"$ne": "board"}}}, {"namespaces": [own["namespace"]]}
    return {"filters": by_filter, "namespaces": by_name, "both": {**by_filter, **by_name}, "derived": by_filter}


def _is_read(route: str) -> bool:
    """Or one that is open to strangers, or hands on what the key may."""
    return route.startswith("GET ") or route.endswith(("/search", "/ask", "/eval", "/derive"))


def _openai_objects(team: TeamClient, namespace: str) -> Known:
    """The namespace as a vector store with a batch of one file, and an upload with all of its parts."""
    stores = team.get("/v1/vector_stores")["data"]
    [store] = [each["id"] for each in stores if each["namespace"] == namespace]
    cats = {"file": ("cats.txt", b"Cats in a file.")}
    file = team.ask("POST", "/v1/files", data={"purpose": "assistants"}, files=cats, expect=200)["id"]
    batch = team.post(f"/v1/vector_stores/{store}/file_batches", {"file_ids": [file]})["id"]
    announced = {"filename": "cats.txt", "purpose": "assistants", "bytes": 15, "mime_type": "text/plain"}
    upload = team.post("/v1/uploads", announced)["id"]
    data = {"data": ("part", b"Cats in a file.")}
    part = team.ask("POST", f"/v1/uploads/{upload}/parts", files=data, expect=200)["id"]
    ids = {"vector_store_id": store, "file_id": file, "batch_id": batch, "upload_id": upload}
    return {**ids, "part_ids": [part], "file_ids": [file], "data": ("part", b"Cats.", "text/plain")}


def _without(values: Known, name: str) -> Known:
    return {each: value for each, value in values.items() if each != name}


class Page(BaseHTTPRequestHandler):
    """What POST /v1/docs/fetch gets."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(b"Cats from afar.")

    def log_message(self, *_: Any) -> None:
        """Nobody asked."""


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/cats.txt"
        server.shutdown()


@pytest.fixture
def world(keyed: Service, page: str) -> World:
    return World(keyed, page)


def test_without_a_key_every_route_but_health_is_a_401(world: World) -> None:
    for route in world.routes:
        answer = world.client.request(**route.request(world.absent()))
        if not route.any_of:
            assert route.path in OPEN and answer.json() == {"ok": True}
            continue
        if route.path.startswith("/v1/dify/"):  # which takes a 401 for a good key
            assert (answer.status_code, answer.json()["error_code"]) == (403, 1001)
            continue
        assert answer.status_code == 401, f"{route}: {answer.text}"
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["error"]["code"] == "invalid_api_key"


def test_a_key_opens_the_routes_of_its_scopes_and_no_other(world: World) -> None:
    for route in world.routes:
        for scope in Scope:
            answer = world.one.ask(**route.request(world.absent()), scope=scope)
            may = not route.any_of or bool(with_included([scope]) & route.any_of)
            assert (answer.status_code != 403) == may, f"{route} with {scope}: {answer.text}"
            assert answer.status_code not in (401, 500), f"{route} with {scope}: {answer.text}"


def test_what_another_team_has_is_answered_like_what_nobody_has(world: World) -> None:
    theirs, own = world.owned(world.one), world.owned(world.other)
    before = world.readings_of(world.one, theirs)
    for route in naming(world):
        if route.method != "GET":  # what is read is there for the next route too
            own = world.owned(world.other)
        absent = world.absent()
        for some in _parts(route.names(world.names)):
            real, unreal = ({**own, **{name: value[name] for name in some}} for value in (theirs, absent))
            answer, compared = (world.other.ask(**route.request(value)) for value in (real, unreal))
            suggested = re.findall(r"'([^']*)'", " ".join(SUGGESTED.findall(answer.text)))
            assert [name for name in suggested if not name.startswith(f"{world.other.name}-")] == []
            assert _view(answer, real, some) == _view(compared, unreal, some), f"{route} naming another's {some}"
        if is_thorough() and route.method != "GET":
            assert world.readings_of(world.one, theirs) == before, f"{route} changes what is another's"
    changed = "a route changes what is another's: HYPOTHESIS_PROFILE=thorough says which"
    assert world.readings_of(world.one, theirs) == before, changed


def test_every_route_finds_what_its_caller_has(world: World) -> None:
    """Otherwise the test above would see nothing."""
    own = world.owned(world.one)
    for route in naming(world):
        if route.method != "GET":
            own = world.owned(world.one)
        names, absent = route.names(world.names), world.absent()
        scope = Scope.OPERATOR if route.any_of == {Scope.OPERATOR} else Scope.ADMIN
        reply, missed = (world.one.ask(**route.request(value), scope=scope) for value in (own, absent))
        refused = {401, 403, 404, 422, 500} - ({422} if str(route) in CONFIRMED else set())
        assert reply.status_code not in refused, f"{route} does not find its own: {reply.text}"
        assert _view(reply, own, names) != _view(missed, absent, names), route


def naming(world: World) -> list[Route]:
    """The routes that name something, those that read first, and last the one that hands out names."""
    routes = sorted(world.routes, key=lambda route: (route.method != "GET", str(route) == GIVES_NAMES))
    return [route for route in routes if route.names(world.names) and route.path != EMBEDDINGS]


def test_what_a_restricted_key_does_not_see_is_answered_like_what_nobody_has(world: World) -> None:
    team = world.one
    own, other = world.owned(team), world.owned(team)
    team.service.work()
    for kind, limits in restrictions(own).items():
        key = world.restricted(team, kind, limits)
        unseen = {name: value for name, value in other.items() if "namespaces" in limits or name not in PLACE}
        if "filters" in limits:
            unseen["doc_id"] = world.hide(team, own)
        opened = set()
        for route in world.routes:
            names = [name for name in route.names(world.names) if name in unseen and name != "tenant_id"]
            absent = world.absent()
            for some in _parts(names):
                real, unreal = ({**own, **{name: value[name] for name in some}} for value in (unseen, absent))
                answer, compared = (world.ask(route, value, key) for value in (real, unreal))
                assert _view(answer, real, some) == _view(compared, unreal, some), f"{route} with {kind} naming {some}"
            reply = world.ask(route, {**own, "key_id": key[4:20]}, key)
            if reply.status_code == 403:
                continue
            opened.add(str(route))
            assert reply.status_code < 300, f"{route} with {kind} does not find what the key sees: {reply.text}"
        assert {"POST /v1/search", "POST /v1/ask", "POST /v1/eval", "GET /v1/docs"} <= opened
        assert [each for each in opened if not _is_read(each)] == []


def test_what_a_restricted_key_does_not_see_changes_no_answer(world: World) -> None:
    team = world.one
    own = world.owned(team)
    team.service.work()
    for kind, limits in restrictions(own).items():
        key = world.restricted(team, kind, limits)
        before = world.readings_with(key, own)
        if "filters" in limits:
            world.hide(team, own)
        if "namespaces" in limits:
            world.owned(team)
        assert world.readings_with(key, own) == before, kind
        assert len([each for each in before.values() if each[0] == 200]) > 6


def test_what_another_team_does_changes_no_answer(world: World) -> None:
    own = world.owned(world.other)
    before = world.readings_of(world.other, own)
    theirs = world.owned(world.one)
    assert world.readings_of(world.other, own) == before
    assert [name for name, value in theirs.items() if any(str(value) in text for text in before)] == []


def test_another_teams_job_is_no_cursor(world: World) -> None:
    theirs = world.owned(world.one)["job_id"]
    answer, absent = (world.other.ask("GET", "/v1/jobs", params={"after": after}) for after in (theirs, "no-job"))
    assert (answer.status_code, absent.status_code) == (404, 404)
    assert answer.text.replace(theirs, "no-job") == absent.text


def test_a_route_that_does_not_say_who_may_call_it_cannot_be_made(world: World) -> None:
    router = APIRouter(route_class=StrictRoute)
    with pytest.raises(TypeError, match="does not say who may call it"):
        router.get("/v1/forgotten")(lambda: None)
    assert all("security" in route.operation for route in world.routes)


def _parts(names: list[str]) -> Iterator[tuple[str, ...]]:
    """Each of them, and all; if the profile is thorough, every choice of at least one."""
    sizes = range(1, len(names) + 1) if is_thorough() else sorted({1, len(names)})
    return chain.from_iterable(combinations(names, size) for size in sizes)


def _view(answer: Any, known: Mapping[str, Any], names: tuple[str, ...] | list[str]) -> tuple[Any, ...]:
    """Status, headers and body, but for the names themselves; of a change that was made, the shape of the body."""
    text = answer.text
    for name in sorted(names, key=lambda name: -len(str(known[name]))):
        text = text.replace(str(known[name]), f"<{name}>")
    text = SUGGESTED.sub("", text)
    was_changed = answer.request.method != "GET" and answer.status_code < 400
    return answer.status_code, sorted(answer.headers), _shape(_json(answer)) if was_changed else text


def _shape(body: Any) -> Any:
    if isinstance(body, dict):
        return {name: _shape(value) for name, value in body.items()}
    return [_shape(each) for each in body] if isinstance(body, list) else type(body).__name__


def _json(answer: Any) -> Any:
    return answer.json() if "json" in answer.headers.get("content-type", "") else None
