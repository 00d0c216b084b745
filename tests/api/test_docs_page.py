"""/docs and /redoc, on a machine without internet."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.service import open_service, settings_in


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
