"""README's first page, pasted line by line as a new user does: a fresh copy, no settings, two shells."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from settings import Settings
from tests.processes.test_scripts import Server, needs_venv, started
from tests.support import files
from tests.support.processes import ROOT, until

LEFT_OUT = (
    ".git",
    ".venv",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    "*.db*",
    "*.egg-info",
    "raw_files",
    "tests",
    "decisions",
    ".env",
)
ADDRESS = "http://localhost:8000"
EXPECTED = {
    "open": ['"ok":true', "ships#", '"text":"Ships sail', "renewed every year in March", '"status":"ready"', "docs/"],
    "keys": ['"upserted_docs":1', '"text":"Ships sail the seven seas."'],
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The repository in a folder of its own, with the packages that are installed already."""
    folder = tmp_path / "ai3-datafactory"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / "report.pdf").write_bytes(files.pdf())
    return folder


def first_page() -> list[str]:
    """The blocks of README up to the other ways to start, but for those that start the service and run the tests."""
    page = (ROOT / "README.md").read_text().partition("\n## With Docker\n")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert blocks[:2] == ["script/server\n", "script/test\n"]
    return blocks[2:]


@needs_venv
@pytest.mark.parametrize("mode", ["open", "keys"])
def test_the_first_page_works_line_by_line_in_two_shells(mode: str, clone: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    unset = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    more = {"AUTH_MODE": "keys"} if mode == "keys" else {}
    with started(
        clone / "script" / "server", clone.parent / "server.log", {**unset, **more, "PORT": str(port)}
    ) as server:
        until(lambda: "Ctrl-C stops it" in server.printed())
        lines = printed_lines(server)
        if mode == "open":
            lines += [block.replace(ADDRESS, f"http://localhost:{port}") for block in first_page()]
        shown = pasted(lines, clone, unset)
    assert [each for each in EXPECTED[mode] if each not in shown] == [], shown


def printed_lines(server: Server) -> list[str]:
    lines = re.findall(r"^(?:curl|KEY=|\.venv/bin/datafactory) ?.*$", server.printed(), re.MULTILINE)
    assert len(lines) >= 4, server.printed()
    return lines


def pasted(lines: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What a second shell shows. Each line has to succeed, and each answer to be one of success."""
    script = 'curl() { command curl --fail-with-body "$@"; }\n' + "\n".join(lines)
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PROBLEM" not in done.stdout
    return done.stdout
