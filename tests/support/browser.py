"""A real browser: Debian's Chromium, driven over the WebDriver protocol, and the service on a port for it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

import pytest
import uvicorn

from api.connections import GuardedProtocol
from app_v1 import create_app
from runtime.opening import open_runtime
from settings import Settings
from tests.support.processes import until
from tests.support.service import put_migrated_file

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="chromium or chromedriver is not installed (Debian: chromium, chromium-driver)",
)
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
PATIENCE_SECONDS = 30
TAB, ENTER, SPACE = "\ue004", "\ue007", " "


class Browser:
    """A session of the driver at *url*."""

    def __init__(self, url: str) -> None:
        self.url = url

    def open(self, address: str) -> None:
        self._post("url", url=address)

    def run(self, script: str, *values: Any) -> Any:
        return self._post("execute/sync", script=script, args=list(values))

    def text(self, selector: str = "body") -> str:
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def address(self) -> str:
        return str(self.run("return location.href"))

    def until_text(self, text: str, selector: str = "body") -> None:
        until(lambda: text in self.text(selector), PATIENCE_SECONDS)

    def type(self, keys: str) -> None:
        """To whatever has the focus, as a keyboard does."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._post("actions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def tab_to(self, selector: str) -> None:
        """Presses Tab until that element has the focus: what cannot be reached so is not for the keyboard."""
        for _ in range(80):
            if self.run("return document.activeElement.matches(arguments[0])", selector):
                return
            self.type(TAB)
        raise AssertionError(f"Tab never reaches {selector}: {self.address()}")

    def choose_file(self, selector: str, path: Path) -> None:
        """What the system's own dialog would do."""
        element = self._post("element", using="css selector", value=selector)[ELEMENT]
        self._post(f"element/{element}/value", text=str(path))

    def show_as(self, *, width: int, scheme: str = "light", height: int = 900) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._devtools("Emulation.setEmulatedMedia", {"features": features})

    def picture(self) -> bytes:
        return b64decode(self._devtools("Page.captureScreenshot", {"format": "png"})["data"])

    def requested(self) -> list[str]:
        """The addresses of all requests since this was called last."""
        messages = [json.loads(each["message"])["message"] for each in self._post("se/log", type="performance")]
        return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """What the browser's console says: a script that failed, or something that the policy forbids."""
        return [each["message"] for each in self._post("se/log", type="browser") if each["level"] == "SEVERE"]

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._post("goog/cdp/execute", cmd=command, params=parameters)

    def _post(self, path: str, **body: Any) -> Any:
        return call(f"{self.url}/{path}", body)


def call(url: str, body: dict[str, Any] | None, *, method: str = "POST") -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = Request(url, content, {"Content-Type": "application/json"}, method=method)
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)["value"]


@contextmanager
def running_browser(folder: Path) -> Iterator[Browser]:
    """Everything that it keeps is in *folder*."""
    assert DRIVER is not None
    with subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True, cwd=folder) as driver:
        try:
            assert driver.stdout is not None
            port = next(match[1] for line in driver.stdout if (match := re.search(r"successfully on port (\d+)", line)))
            url = f"http://127.0.0.1:{port}/session"
            session = f"{url}/{call(url, {'capabilities': {'alwaysMatch': _capabilities(folder)}})['sessionId']}"
            yield Browser(session)
            call(session, None, method="DELETE")
        finally:
            driver.terminate()


def _capabilities(folder: Path) -> dict[str, Any]:
    arguments = [*OPTIONS, f"--user-data-dir={folder}/profile"]
    return {
        "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments},
        "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
    }


@contextmanager
def served(settings: Settings) -> Iterator[tuple[str, Any]]:
    """The service on a port of this process: its address, and its runtime."""
    put_migrated_file(settings.database_url)
    config = uvicorn.Config(create_app(settings), port=0, http=GuardedProtocol, ws="none", log_config=None)
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started, PATIENCE_SECONDS)
        with open_runtime(settings) as runtime:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", runtime
    finally:
        server.should_exit = True
        thread.join()
