"""/, /docs and /redoc, on a machine without internet."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from pathlib import Path

from tests.support.service import open_service, settings_in
from version import VERSION


def test_the_pages_of_the_api_need_nothing_from_another_server(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path)) as service:
        for page in ("/docs", "/redoc"):
            answer = service.client.get(page)
            assert answer.status_code == 200
            addresses = re.findall(r"(?:src|href|url|spec-url)\s*[=:]\s*[\"']([^\"']+)[\"']", answer.text)
            assert any(address.endswith(".js") for address in addresses)
            for address in addresses:
                assert address.startswith("/"), f"{page} asks {address}"
                assert service.client.get(address).status_code == 200


def test_the_root_is_a_page_that_says_what_runs_here_and_leads_on(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, auth_mode="keys", embed_model_name="/a/secret/model")) as service:
        answer = service.client.get("/")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert f"<h1>AI-3 DataFactory {VERSION}</h1>" in answer.text
        links = re.findall(r'(?:href|src)="([^"]+)"', answer.text)
        assert links == ["/console", "/docs", "/redoc", "/openapi.json", "/v1/health"]
        assert [service.client.get(link).status_code for link in links] == [200, 200, 200, 200, 503]
        [style] = re.findall("<style>(.*)</style>", answer.text)
        digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
        assert not re.search("<script| style=", answer.text)
        assert not re.search(f"secret|{tmp_path}", answer.text)
        assert "/" not in service.get("/openapi.json")["paths"]
        assert service.client.head("/").status_code == 200
