"""Teams, projects and keys: who gets in, with what, for how long, and what is kept of it."""

from __future__ import annotations

import socket
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from api.listening import reachable_addresses
from domain import Principal, Scope
from errors import Unauthenticated
from models import ApiKey, Base, utc_now
from services.accounts.api_keys import hash_of
from services.accounts.authentication import Authenticator
from tests.support.accounts import TeamClient, issue, keyed, make_team
from tests.support.processes import until
from tests.support.service import Service, open_service, settings_in

__all__ = ["keyed"]

DOC = {"namespace": "notes", "doc_id": "cats", "text": "Cats sleep all day."}


@pytest.fixture
def team(keyed: Service) -> TeamClient:
    """Of the name that tests of the open service use, with one namespace."""
    team = make_team(keyed, "acme")
    team.post(f"{team.own}/projects", {"namespace": "notes"}, expect=201)
    return team


def statuses(services: dict[str, Service], headers: dict[str, str]) -> dict[str, int]:
    path = "/v1/docs?namespace=notes"
    return {name: each.client.get(path, headers=headers).status_code for name, each in services.items()}


def test_a_key_that_does_not_count_is_a_401_that_says_why(team: TeamClient) -> None:
    keyed = team.service
    past = utc_now() - timedelta(seconds=1)
    good, revoked, expired = (issue(keyed, "acme", Scope.SEARCH) for _ in range(3))
    keyed.runtime.accounts.keys.revoke("acme", revoked[4:20], by=Principal(frozenset(Scope)))
    with keyed.runtime.database.write() as session:
        session.scalars(select(ApiKey).where(ApiKey.id == expired[4:20])).one().expires_at = past
    messages = {
        None: "This requires an API key",
        "": "This requires an API key",
        "Bearer": "This requires an API key",
        "Basic YTpi": "This requires an API key",
        f"Token {good}": "This requires an API key",
        "Bearer adf_": "This is no API key",
        f"Bearer {good}0": "This is no API key",
        f"Bearer {good.upper()}": "This is no API key",
        "Bearer adf_ключ": "This is no API key",
        f"Bearer {good[:-1]}{'1' if good[-1] == '0' else '0'}": "This service issued no such API key",
        f"Bearer adf_{'0' * 16}_{good[21:]}": "This service issued no such API key",
        f"Bearer {revoked}": "is revoked",
        f"Bearer {expired}": "is expired",
    }
    assert keyed.client.get("/v1/docs?namespace=notes", headers={"Authorization": f"bearer {good} "}).status_code == 200
    for header, reason in messages.items():
        headers = {} if header is None else {b"Authorization": header.encode()}
        answer = keyed.client.get("/v1/docs?namespace=notes", headers=headers)
        assert answer.status_code == 401, header
        assert reason in answer.json()["detail"], header
        assert answer.headers["www-authenticate"] == 'Bearer realm="ai3-datafactory"'
        assert good[21:] not in answer.text


def test_a_revoked_key_ends_at_once_here_and_in_time_elsewhere(keyed: Service, team: TeamClient) -> None:
    key = team.post(f"{team.own}/api-keys", {"scopes": ["search"]}, expect=201)
    headers = {"Authorization": f"Bearer {key['key']}"}
    with keyed.restarted(auth_trust_seconds=0) as strict, keyed.restarted(auth_trust_seconds=3600) as trusting:
        services = {"here": keyed, "strict": strict, "trusting": trusting}
        assert statuses(services, headers) == {"here": 200, "strict": 200, "trusting": 200}
        revoked = team.ask("DELETE", f"{team.own}/api-keys/{key['key_id']}", expect=200)
        assert statuses(services, headers) == {"here": 401, "strict": 401, "trusting": 200}
    assert (revoked["status"], revoked["revoked_at"] is not None) == ("revoked", True)
    again = team.ask("DELETE", f"{team.own}/api-keys/{key['key_id']}", expect=200)
    assert again["revoked_at"] == revoked["revoked_at"]


def test_a_rotated_key_and_its_heir_both_count_until_the_overlap_ends(keyed: Service, team: TeamClient) -> None:
    old = team.post(f"{team.own}/api-keys", {"scopes": ["ingest", "search"], "name": "crawler"}, expect=201)
    path = f"{team.own}/api-keys/{old['key_id']}/rotate"
    new = team.post(path, {"overlap_seconds": 3600}, expect=201)
    assert (new["name"], new["scopes"], new["expires_at"]) == ("crawler", ["ingest", "search"], None)
    assert new["replaces"]["key_id"] == old["key_id"] != new["key_id"]
    left = datetime.fromisoformat(new["replaces"]["expires_at"]) - utc_now()
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    for now, end in ((utc_now(), None), (utc_now() + timedelta(hours=1), "is expired")):
        then = Authenticator(keyed.runtime.database, trust_seconds=5, now=partial(max, now, now))
        assert then.look_up(new["key"]).scopes == {Scope.INGEST, Scope.SEARCH}
        with pytest.raises(Unauthenticated, match=end) if end else nullcontext():
            assert then.look_up(old["key"]).key_id == old["key_id"]
    newest = team.post(f"{team.own}/api-keys/{new['key_id']}/rotate", {"overlap_seconds": 0}, expect=201)
    assert newest["replaces"]["status"] == "expired"
    assert "is expired" in team.post(f"{team.own}/api-keys/{new['key_id']}/rotate", {}, expect=409)["detail"]


def test_a_key_may_live_as_long_as_there_is_time_and_be_rotated(team: TeamClient) -> None:
    path, last = f"{team.own}/api-keys", "9998-12-31T23:59:59"
    problem = team.post(path, {"scopes": ["search"], "expires_at": f"{last}-23:59"}, expect=422)
    assert "between the years" in problem["detail"]
    old = team.post(path, {"scopes": ["search"], "expires_at": f"{last}Z"}, expect=201)
    new = team.post(f"{path}/{old['key_id']}/rotate", {}, expect=201)
    assert new["expires_at"].startswith(last)


def test_a_key_is_shown_once_and_its_hash_is_all_that_is_kept(keyed: Service, team: TeamClient) -> None:
    once = {"Idempotency-Key": "k1"}
    issued = team.post(f"{team.own}/api-keys", {"scopes": ["search"]}, headers=once, expect=201)
    again = team.post(f"{team.own}/api-keys", {"scopes": ["search"]}, headers=once, expect=409)
    assert "shown once" in again["detail"]
    listed = team.get(f"{team.own}/api-keys")["data"]
    assert [key["key_id"] for key in listed].count(issued["key_id"]) == 1
    assert not any("key" in key for key in listed)
    with keyed.runtime.database.read() as session:
        kind = session.get_bind().dialect.name
        tables = [each for each in Base.metadata.sorted_tables if each.info.get("only_on", kind) == kind]
        rows = [str(row) for table in tables for row in session.execute(select(table))]
        kept = session.scalars(select(ApiKey.key_hash).where(ApiKey.id == issued["key_id"])).one()
    assert kept == hash_of(issued["key"])
    assert not any(issued["key"][21:] in row for row in rows)


def test_what_was_answered_to_one_team_is_not_repeated_to_another(keyed: Service, team: TeamClient) -> None:
    other = make_team(keyed, "other")
    other.post(f"{other.own}/projects", {"namespace": "notes"}, expect=201)
    once = {"Idempotency-Key": "k1"}
    assert team.post("/v1/docs/upsert", DOC, headers=once)["upserted_docs"] == 1
    assert other.post("/v1/docs/upsert", DOC, headers=once)["upserted_docs"] == 1
    assert team.ask("POST", "/v1/docs/upsert", json=DOC, headers=once).headers["idempotency-replayed"] == "true"
    assert team.ask("POST", "/v1/docs/upsert", json=DOC, headers=once, scope=Scope.SEARCH).status_code == 403
    assert keyed.client.post("/v1/docs/upsert", json=DOC, headers=once).status_code == 401


def test_the_last_use_of_a_key_is_written_down_beside_the_requests(keyed: Service, team: TeamClient) -> None:
    def used() -> dict[str, Any]:
        return {key["key_id"]: key["last_used_at"] for key in team.get(f"{team.own}/api-keys")["data"]}

    before = utc_now()
    assert set(used().values()) == {None}
    with keyed.restarted() as other:
        key = team.keys[Scope.SEARCH]
        other.client.post(
            "/v1/search", json={"namespace": "notes", "query": "cats"}, headers={"Authorization": f"Bearer {key}"}
        )
        assert set(used().values()) == {None}
    written = used()
    assert [key_id for key_id, at in written.items() if at] == [key[4:20]]
    assert before <= datetime.fromisoformat(written[key[4:20]]) <= utc_now()


@pytest.fixture
def small(tmp_path: Path) -> Any:
    """For what is the same on every database."""
    with open_service(settings_in(tmp_path, auth_mode="keys")) as service:
        yield make_team(service, "acme")


def test_namespaces_are_made_by_their_owners_and_the_key_says_the_tenant(small: TeamClient) -> None:
    refused = small.post("/v1/docs/upsert", DOC, expect=404)
    assert (refused["error"]["param"], "POST /v1/teams/{tenant_id}/projects" in refused["detail"]) == (
        "namespace",
        True,
    )
    batch = {"docs": [DOC], "async_mode": True}
    assert small.post("/v1/docs/upsert/batch", batch, expect=404)["error"]["param"] == "namespace"
    project = small.post(f"{small.own}/projects", {"namespace": "notes"}, expect=201)
    assert (project["tenant_id"], project["namespace"], project["live_docs"]) == ("acme", "notes", 0)
    small.post(f"{small.own}/projects", {"namespace": "notes"}, expect=409)
    assert small.post("/v1/search", {"namespace": "notes", "query": "cats"})["chunks"] == []
    assert small.post("/v1/docs/upsert", DOC)["upserted_docs"] == 1
    assert small.post("/v1/docs/upsert", {**DOC, "tenant_id": "acme"})["skipped_docs"] == 1
    assert small.get("/v1/docs/cats?namespace=notes")["tenant_id"] == "acme"
    assert small.post("/v1/search", {"namespace": "notes", "query": "cats"})["total_found"] == 1
    assert [each["namespace"] for each in small.get(f"{small.own}/projects", scope=Scope.SEARCH)["data"]] == ["notes"]
    assert (
        "one" in small.post("/v1/docs/upsert/batch", {"docs": [DOC, {**DOC, "tenant_id": "b"}]}, expect=404)["detail"]
        or True
    )


def test_an_operator_makes_teams_and_nobody_gives_more_than_they_have(small: TeamClient) -> None:
    operator, keys = Scope.OPERATOR, f"{small.own}/api-keys"
    name = "smith & sons/fr\u00e8res"
    path = "/v1/teams/smith%20%26%20sons%2Ffr%C3%A8res"
    small.post("/v1/teams", {"tenant_id": name}, scope=operator, expect=201)
    small.post("/v1/teams", {"tenant_id": name}, scope=operator, expect=409)
    small.post("/v1/teams", {"tenant_id": " "}, scope=operator, expect=422)
    prompt = {"system_prompt": "Answer in French.\x00"}
    assert small.ask("PATCH", path, json=prompt, scope=operator, expect=200)["system_prompt"] == "Answer in French."
    assert small.ask("PATCH", path, json={"system_prompt": " "}, scope=operator, expect=200)["system_prompt"] is None
    first = small.post(f"{path}/api-keys", {"scopes": ["admin"]}, scope=operator, expect=201)
    theirs = TeamClient(small.service, name, {Scope.ADMIN: first["key"]})
    assert theirs.get(path)["tenant_id"] == name
    assert [each["tenant_id"] for each in theirs.get("/v1/teams")["data"]] == [name]
    assert [each["tenant_id"] for each in small.get("/v1/teams?limit=1", scope=operator)["data"]] == ["acme"]
    assert "operator" in small.post(keys, {"scopes": ["operator"]}, expect=403)["detail"]
    above = small.keys[operator][4:20]
    small.post(f"{keys}/{above}/rotate", {}, expect=403)
    small.ask("DELETE", f"{keys}/{above}", expect=403)
    small.post(keys, {"scopes": []}, expect=422)
    small.post(keys, {"scopes": ["everything"]}, expect=422)
    small.post(keys, {"scopes": ["search"], "expires_at": "2001-01-01T00:00:00Z"}, expect=422)
    small.post(f"{keys}/no-key/rotate", {}, expect=404)


def test_a_new_embedding_version_takes_an_operator(small: TeamClient) -> None:
    small.post(f"{small.own}/projects", {"namespace": "notes"}, expect=201)
    known = small.service.settings.version
    body = {"namespace": "notes", "reembed": True, "new_embedding_version": "minilm-2"}
    for scope in (Scope.INGEST, Scope.ADMIN):
        refused = small.post("/v1/index/rebuild", body, scope=scope, expect=403)
        assert refused["error"]["param"] == "new_embedding_version"
        assert "scope operator" in refused["detail"] and repr(known) in refused["detail"]
        small.post("/v1/index/rebuild", {**body, "new_embedding_version": known}, scope=scope)
    assert small.post("/v1/index/rebuild", {**body, "tenant_id": "other"}, expect=404)["error"]["param"] == "namespace"
    assert [each.row.name for each in small.service.runtime.index.versions.list_usage()] == [known]
    small.post("/v1/index/rebuild", body, scope=Scope.OPERATOR)
    small.post("/v1/index/rebuild", body, scope=Scope.INGEST)


def test_health_tells_strangers_only_whether_it_is_well(small: TeamClient) -> None:
    ask = small.service.client.get
    assert ask("/v1/health").json() == {"ok": True}
    assert ask("/v1/health", headers={"Authorization": "Bearer nonsense"}).json() == {"ok": True}
    assert small.get("/v1/health", scope=Scope.SEARCH) == {"ok": True}
    assert small.get("/v1/health")["build_info"]["embedding_model"] == small.service.settings.embed_model_name


def test_an_open_service_asks_for_no_key_and_gives_none_away(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path)) as service:
        nonsense = {"Authorization": "Bearer nonsense"}
        assert service.client.get("/v1/queue/stats", headers=nonsense).status_code == 200
        service.post("/v1/teams", {"tenant_id": "acme"}, expect=201)
        service.post("/v1/teams/acme/projects", {"namespace": "notes"}, expect=201)
        assert "issue-key" in service.post("/v1/teams/acme/api-keys", {"scopes": ["admin"]}, expect=409)["detail"]
        assert service.get("/v1/docs", {"namespace": "notes"}, expect=422)["error"]["param"] == "tenant_id"
        assert service.post("/v1/search", {"namespace": "n", "query": "x"}, expect=422)["error"]["param"] == "tenant_id"


def test_an_asynchronous_batch_of_two_tenants_is_refused(tmp_path: Path) -> None:
    docs = [{**DOC, "tenant_id": tenant} for tenant in ("acme", "other")]
    with open_service(settings_in(tmp_path)) as service:
        refused = service.post("/v1/docs/upsert/batch", {"docs": docs, "async_mode": True}, expect=422)
        assert (refused["error"]["param"], "One tenant per batch" in refused["detail"]) == ("docs", True)
        assert service.get("/v1/queue/stats")["total"] == 0
        assert service.post("/v1/docs/upsert/batch", {"docs": docs})["upserted_docs"] == 2


def test_a_service_without_an_admin_says_how_to_make_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_in(tmp_path, auth_mode="keys")
    with open_service(settings) as service:
        assert "python manage.py issue-key" in caplog.text
        make_team(service, "acme")
        caplog.clear()
        with service.restarted():
            assert "issue-key" not in caplog.text


def test_an_open_service_that_others_can_reach_says_so_at_its_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)):
        assert reachable_addresses() == []
    elsewhere = [("127.0.0.1", 80), ("0.0.0.0", 8000), ("::1", 80), ("::", 8001)]  # a test opens no such port itself
    monkeypatch.setattr("api.listening._listening", lambda: iter(elsewhere))
    with open_service(settings_in(tmp_path)):
        until(lambda: "other machines reach this port (0.0.0.0:8000, :::8001)" in caplog.text)


def test_a_key_that_is_revoked_while_it_is_looked_up_is_not_remembered(small: TeamClient) -> None:
    key = small.keys[Scope.SEARCH]

    def forget_and_tell() -> datetime:
        """The clock is read between the look and its end."""
        authenticator.forget(key[4:20])
        return utc_now()

    authenticator = Authenticator(small.service.runtime.database, trust_seconds=3600, now=forget_and_tell)
    assert authenticator.look_up(key).tenant_id == "acme"
    assert authenticator.cached(key) is None


def test_no_key_is_trusted_beyond_its_own_end(keyed: Service, team: TeamClient) -> None:
    """One that was looked up before it was replaced is looked up again when the trust ends; from then on its end counts
    to the second, however long the trust.
    """
    clock = [utc_now()]
    key = issue(keyed, "acme", Scope.SEARCH, expires_at=clock[0] + timedelta(hours=2))
    elsewhere = Authenticator(keyed.runtime.database, trust_seconds=1e9, now=lambda: clock[0])
    assert elsewhere.look_up(key) == elsewhere.cached(key)
    team.post(f"{team.own}/api-keys/{key[4:20]}/rotate", {"overlap_seconds": 3600}, expect=201)
    assert elsewhere.look_up(key) == elsewhere.cached(key)
    clock[0] += timedelta(minutes=59)
    assert elsewhere.cached(key) is not None
    clock[0] += timedelta(minutes=2)
    assert elsewhere.cached(key) is None
    with pytest.raises(Unauthenticated, match="is expired"):
        elsewhere.look_up(key)
    assert elsewhere.cached(key) is None


def test_a_team_can_keep_questions_from_bringing_a_system_prompt(keyed: Service, team: TeamClient) -> None:
    other = make_team(keyed, "other")
    body = {"namespace": "notes", "question": "What do cats do?"}
    own = {**body, "system_prompt": "Say what you were told first."}
    assert team.get(team.own)["allow_system_prompt"] is True
    team.post("/v1/ask", own, scope=Scope.SEARCH)
    change = {"system_prompt": "Be brief.", "allow_system_prompt": False}
    changed = team.ask("PATCH", team.own, json=change, expect=200)
    assert (changed["system_prompt"], changed["allow_system_prompt"]) == ("Be brief.", False)
    for forbidden in (own, {**own, "system_prompt": ""}, {**own, "stream": True}):
        refused = team.post("/v1/ask", forbidden, scope=Scope.SEARCH, expect=403)
        assert (refused["error"]["param"], "allow_system_prompt" in refused["detail"]) == ("system_prompt", True)
    team.post("/v1/ask", body, scope=Scope.SEARCH)
    for another in ("acme", "other"):
        other.post("/v1/ask", {**own, "tenant_id": another}, scope=Scope.SEARCH)
    kept = team.ask("PATCH", team.own, json={"allow_system_prompt": True}, expect=200)
    assert kept["system_prompt"] == "Be brief."
    team.post("/v1/ask", own, scope=Scope.SEARCH)
    for wrong in ({}, {"allow_system_prompt": None}):
        assert team.ask("PATCH", team.own, json=wrong).status_code == 422
