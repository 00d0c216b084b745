"""Who asks too often is told when to come back: counted in memory, and in a real Redis that processes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from domain import Scope
from errors import Invalid, RateLimited
from runtime.opening import open_runtime
from services.accounts.rate_limits import BUCKETS, _bucket_of
from tests.support.accounts import TeamClient, issue, make_team
from tests.support.redis_server import RedisServer, running_redis
from tests.support.service import PLACE, Service, open_service, settings_in

STATUS = "/v1/queue/stats"


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


def limited(folder: Path, **limits: Any) -> Any:
    return open_service(settings_in(folder, **{"auth_mode": "keys", **limits}))


def with_key(service: Service, key: str) -> Any:
    return service.client.get(STATUS, headers={"Authorization": f"Bearer {key}"})


def test_a_key_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    with limited(tmp_path, rate_limit_per_key="3/hour") as service:
        team = make_team(service, "acme")
        left = [team.ask("GET", STATUS).headers["ratelimit-remaining"] for _ in range(3)]
        refused = team.ask("GET", STATUS)
        assert (left, refused.status_code) == (["2", "1", "0"], 429)
        problem = refused.json()
        assert (problem["error"]["code"], refused.headers["content-type"]) == (
            "rate_limited",
            "application/problem+json",
        )
        assert "This key has used its limit of 3 per 1 hour" in problem["detail"]
        values = {
            name: int(refused.headers[name]) for name in ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
        }
        assert (values["ratelimit-limit"], values["ratelimit-remaining"]) == (3, 0)
        assert 0 < values["ratelimit-reset"] == int(refused.headers["retry-after"]) <= 3600
        assert team.ask("GET", STATUS, scope=Scope.INGEST).status_code == 200
        assert service.client.get("/v1/health").status_code == 200
        assert service.client.get(STATUS).status_code == 401


def test_the_keys_of_a_team_share_its_limit_and_other_teams_have_their_own(tmp_path: Path) -> None:
    with limited(tmp_path, rate_limit_per_key="3/hour", rate_limit_per_team="2/hour; 100/day") as service:
        team, other = make_team(service, "acme"), make_team(service, "other")
        assert [team.ask("GET", STATUS, scope=scope).status_code for scope in (Scope.ADMIN, Scope.INGEST)] == [200, 200]
        refused = team.ask("GET", STATUS, scope=Scope.OPERATOR)
        assert (refused.status_code, "This team has used its limit of 2 per 1 hour" in refused.json()["detail"]) == (
            429,
            True,
        )
        assert other.ask("GET", STATUS).status_code == 200


def test_without_keys_each_tenant_that_a_request_names_has_its_limit(tmp_path: Path) -> None:
    with limited(tmp_path, auth_mode="open", rate_limit_per_tenant="3/hour") as service:
        doc, form = {**PLACE, "doc_id": "a", "text": "Cats."}, {"files": {"file": ("a.txt", b"Dogs.")}, "data": PLACE}
        body = service.client.post("/v1/docs/upsert", json=doc)
        query = service.client.get("/v1/docs", params=PLACE)
        upload = service.client.post("/v1/docs/upload", **form)
        assert [each.headers["ratelimit-remaining"] for each in (body, query, upload)] == ["2", "1", "0"]
        batch = {"docs": [{**doc, "tenant_id": "other"}, doc]}
        refused = [
            service.client.post("/v1/docs/upsert/batch", json=batch),
            service.client.get("/v1/teams/acme"),
            service.client.post("/v1/docs/upload", **form),
        ]
        assert [each.status_code for each in refused] == [429] * 3
        assert "This tenant has used its limit of 3 per 1 hour" in refused[0].json()["detail"]
        assert service.client.get("/v1/docs", params={**PLACE, "tenant_id": "other"}).status_code == 200
        assert service.client.get("/v1/health").status_code == 200


def test_with_keys_a_tenant_is_the_keys_team(tmp_path: Path) -> None:
    with limited(tmp_path, rate_limit_per_tenant="2/hour") as service:
        team = make_team(service, "acme")
        assert [team.ask("GET", STATUS).status_code for _ in range(3)] == [200, 200, 429]


def test_processes_that_share_a_redis_count_together_and_go_on_without_it(
    tmp_path: Path, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        limited(tmp_path, rate_limit_per_key="4/hour", rate_limit_url=redis.url) as one,
        one.restarted() as another,
    ):
        make_team(one, "acme")
        key = issue(one, "acme", Scope.INGEST)
        left = [with_key(each, key).headers["ratelimit-remaining"] for each in (one, another, another, one)]
        assert left == ["3", "2", "1", "0"]
        refused = [with_key(each, key) for each in (one, another)]
        assert [answer.status_code for answer in refused] == [429, 429]
        assert all(0 < int(answer.headers["retry-after"]) <= 3600 for answer in refused)
        redis.kill()
        assert [with_key(each, key).status_code for each in (one, another)] == [200, 200]
        assert "RATE_LIMIT_URL cannot be reached, so nobody is limited" in caplog.text
        assert "ratelimit-limit" not in with_key(one, key).headers


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rate_limit_per_key": "often"}, "RATE_LIMIT_PER_KEY='often' is not a limit"),
        ({"rate_limit_per_team": "5/fortnight"}, "RATE_LIMIT_PER_TEAM='5/fortnight' is not a limit"),
        ({"rate_limit_per_key": "5/hour", "rate_limit_url": "redis+pigeon://:secret@coop"}, "RATE_LIMIT_URL must be"),
    ],
)
def test_a_limit_that_makes_no_sense_is_told_at_the_start(tmp_path: Path, wrong: dict[str, str], message: str) -> None:
    with pytest.raises(Invalid, match=message) as error, open_runtime(settings_in(tmp_path, **wrong)):
        pass
    assert "secret" not in str(error.value)


def test_without_a_limit_nothing_is_counted(tmp_path: Path) -> None:
    with limited(tmp_path) as service:
        team: TeamClient = make_team(service, "acme")
        assert not any(name.startswith("ratelimit") for name in team.ask("GET", STATUS).headers)


def failing(service: Service, *, address: str = "203.0.113.7", key: str = "adf_nonsense") -> Any:
    """As a client of that address asks through the service's own face."""
    client = TestClient(service.client.app, client=(address, 50_000))
    client.app_state.update(service.client.app_state)
    return client.get(STATUS, headers={"Authorization": f"Bearer {key}"})


def test_an_address_that_shows_no_good_key_too_often_is_told_when_to_come_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with limited(tmp_path, auth_failures_per_minute=3) as service:
        team = make_team(service, "acme")
        unknown_key = f"adf_{'0' * 16}_{'0' * 64}"
        tried = [failing(service, key=key).status_code for key in ("nonsense", "", unknown_key)]
        assert tried == [401, 401, 401]
        assert "'203.0.113.7' 3 requests in a minute had no valid API key" in caplog.text
        refused = failing(service)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
        assert 0 < int(refused.headers["retry-after"]) == int(refused.headers["ratelimit-reset"]) <= 60
        for good in (team.keys[Scope.INGEST], issue(service, "acme", Scope.INGEST)):
            assert failing(service, key=good).status_code == 200
        assert failing(service).status_code == 429
        assert failing(service, address="203.0.113.8").status_code == 401
        assert service.client.get("/v1/health", headers={"Authorization": "Bearer nonsense"}).status_code == 200


def test_no_number_of_addresses_takes_more_memory_and_a_site_of_ipv6_is_one(tmp_path: Path) -> None:
    with limited(tmp_path, auth_failures_per_minute=1) as service:
        failures = service.runtime.accounts.login_failures
        failures.hit("2001:db8::1")
        for same in ("2001:db8::ffff", "2001:db8:0:0:1::"):
            with pytest.raises(RateLimited):
                failures.hit(same)
        failures.hit("2001:db8:0:1::1")
        failures.hit("198.51.100.1")
        with pytest.raises(RateLimited):
            failures.hit("::ffff:198.51.100.1")
        buckets = {_bucket_of(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}") for number in range(200_000)}
        assert len(buckets) <= BUCKETS < 200_000


@pytest.mark.parametrize("changed", [{"auth_failures_per_minute": 0}, {"auth_mode": "open"}])
def test_failures_are_not_counted_where_that_is_off(tmp_path: Path, changed: dict[str, Any]) -> None:
    with limited(tmp_path, **{"auth_failures_per_minute": 1, "auth_mode": "keys", **changed}) as service:
        status = 200 if "auth_mode" in changed else 401
        assert [failing(service).status_code for _ in range(3)] == [status] * 3


def test_processes_that_share_a_redis_count_failures_together(tmp_path: Path, redis: RedisServer) -> None:
    with (
        limited(tmp_path, auth_failures_per_minute=2, rate_limit_url=redis.url) as one,
        one.restarted() as another,
    ):
        assert [failing(each).status_code for each in (one, another, one, another)] == [401, 401, 429, 429]
        redis.kill()
        assert failing(one).status_code == 401
