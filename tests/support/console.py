"""A browser of the console without a browser: it keeps its cookie, and sends forms with their token."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from api.console.app import console_routes
from api.console.routing import ConsoleRoute
from tests.support.service import Service

COOKIE = re.compile("console=([^;]*)")
TOKEN = re.compile('name="token" value="([0-9a-f]{64})"')


@dataclass
class Visitor:
    service: Service
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def with_key(cls, service: Service, key: str) -> Visitor:
        return cls(service, service.runtime.accounts.sessions.begin(key))

    def get(self, path: str, *, expect: int | None = 200, **parameters: Any) -> Any:
        return self._ask("GET", path, expect, params=parameters or None)

    def post(
        self, path: str, /, *, expect: int | None = 303, file: tuple[str, bytes] | None = None, **fields: Any
    ) -> Any:
        """The fields in their order, the token first, unless one is given."""
        sent = {"token": fields.pop("token", None) or self.token(), **fields}
        parts = [(name, (None, str(value))) for name, value in sent.items()]
        return self._ask("POST", path, expect, files=[*parts, *([("file", file)] if file else [])])

    def token(self) -> str:
        match = TOKEN.search(self._ask("GET", "/console/sign-in", None).text)
        if match is None:  # a page that has forms for everybody who is signed in, or with open doors
            match = TOKEN.search(self.get("/console/playground", tenant_id="any", namespace="any", expect=None).text)
        return match[1] if match else "none"

    def _ask(self, method: str, path: str, expect: int | None, **request: Any) -> Any:
        client = self.service.client
        client.cookies.clear()
        headers = {**self.headers, **({"Cookie": f"console={self.cookie}"} if self.cookie else {})}
        answer = client.request(method, path, headers=headers, follow_redirects=False, **request)
        if (given := COOKIE.search(answer.headers.get("set-cookie", ""))) is not None:
            self.cookie = given[1]
        assert expect is None or answer.status_code == expect, answer.text
        return answer


def reads() -> list[ConsoleRoute]:
    return [route for route in console_routes() if "GET" in (route.methods or ())]


def writes() -> list[ConsoleRoute]:
    return [route for route in console_routes() if "POST" in (route.methods or ())]
