"""The service with AUTH_MODE=keys, and teams in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from domain import ANYONE, Scope
from tests.support.service import Service, open_service, settings_in

SECRET = "a secret that only these tests know"


@dataclass(frozen=True)
class TeamClient:
    """A client of the service with a team's keys."""

    service: Service
    name: str
    keys: dict[Scope, str]

    def ask(
        self, method: str, url: str, *, scope: Scope = Scope.ADMIN, expect: int | None = None, **request: Any
    ) -> Any:
        """Sends a request; returns the response, or its body if *expect* is given."""
        headers = {"Authorization": f"Bearer {self.keys[scope]}", **request.pop("headers", {})}
        answer = self.service.client.request(method, url, headers=headers, **request)
        if expect is None:
            return answer
        assert answer.status_code == expect, answer.text
        return answer.json()

    def post(self, url: str, body: dict[str, Any], *, expect: int = 200, **more: Any) -> Any:
        return self.ask("POST", url, json=body, expect=expect, **more)

    def get(self, url: str, *, expect: int = 200, **more: Any) -> Any:
        return self.ask("GET", url, expect=expect, **more)

    @property
    def own(self) -> str:
        return f"/v1/teams/{self.name}"


def make_team(service: Service, name: str) -> TeamClient:
    """Creates a team, as manage.py does, with a key of each scope."""
    service.runtime.accounts.teams.create_team(name)
    keys = {scope: issue(service, name, scope) for scope in Scope}
    return TeamClient(service, name, keys)


def issue(service: Service, team: str, *scopes: Scope, **more: Any) -> str:
    fields = {"name": "", "expires_at": None, **more}
    return service.runtime.accounts.keys.issue(team, scopes=scopes, by=ANYONE, **fields).key


@pytest.fixture
def keyed(tmp_path: Path, database_url: str) -> Iterator[Service]:
    settings = settings_in(
        tmp_path,
        database_url=database_url,
        auth_mode="keys",
        auth_failures_per_minute=0,
        derived_key_secret=SECRET,
        fetch_enabled=True,
        fetch_allow_hosts="127.0.0.1",
    )
    with open_service(settings) as service:
        yield service
