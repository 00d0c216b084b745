"""The README, held against the code: what it names exists, what exists is named, and its lines work when pasted."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.main import get_command

import manage
from app_v1 import create_app
from settings import Settings
from tests.support import files
from tests.support.processes import ROOT, Api, api_process, worker_process
from tests.support.service import environment, settings_in

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
ADDRESS = "http://localhost:8000"
METHODS = "GET|POST|PUT|PATCH|DELETE"
BLOCK_ENDS = "-- the block ends --"

needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None, reason="curl is not installed: the README's lines cannot be run"
)
SAY_STATUS = """
curl() { command curl -w '\\n%{stderr}HTTP %{http_code}\\n' "$@"; }
"""


def section(title: str) -> str:
    """The text under a heading of the second level."""
    _, _, rest = README.partition(f"\n## {title}\n")
    assert rest, f"README has no section {title!r}"
    return rest.partition("\n## ")[0]


def blocks_and_answers(told: str) -> list[tuple[str, str]]:
    """The lines to paste, each block with the answer that is shown right below it, if one is."""
    return re.findall(r"^```bash\n(.*?)^```$(?:\n\n```json\n(.*?)^```$)?", told, re.MULTILINE | re.DOTALL)


def fields() -> dict[str, Any]:
    return {name: field.default for name, field in Settings.model_fields.items()}


def test_every_endpoint_is_named_and_every_named_one_exists() -> None:
    paths = create_app().openapi()["paths"]
    there = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert set(re.findall(rf"\b({METHODS}) (/[^\s`\"?]+)", README)) == there
    assert set(re.findall(rf"^\| `({METHODS}) (/\S+)` \|", section("Endpoints"), re.MULTILINE)) == there


def test_every_field_of_a_request_is_named() -> None:
    schemas = create_app().openapi()["components"]["schemas"]
    sent = {field for name, each in schemas.items() if name.endswith("In") for field in each["properties"]}
    assert {field for field in sent if not re.search(rf'[`"]{field}[`"]', README)} == set()


def test_the_table_of_settings_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \| (.+) \|$", section("Settings"), re.MULTILINE)
    assert [name.lower() for name, _, _ in rows] == list(fields())
    wrong = {name: told for name, told, _ in rows if _meant(name.lower(), told) != fields()[name.lower()]}
    assert wrong == {}
    assert [told for _, _, told in rows] == [field.description for field in Settings.model_fields.values()]


def test_no_setting_is_named_that_does_not_exist() -> None:
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", README)) | set(re.findall(r"\b([A-Z]+(?:_[A-Z]+)+)=", README))
    assert {name for name in named if name.lower() not in fields()} == set()


def test_every_command_of_manage_is_named_and_every_named_one_exists() -> None:
    command = get_command(manage.app)
    there = set(getattr(command, "commands", {}))
    told = section("manage.py")
    assert set(re.findall(r"^\| `python manage\.py ([a-z-]+)", told, re.MULTILINE)) == there
    assert set(re.findall(r"manage\.py ([a-z][a-z-]*)", README)) == there


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    )
    missing = [link for link in links if not link.startswith(("http:", "https:")) and not _leads_somewhere(page, link)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_and_file_that_is_named_exists(page: Path) -> None:
    sources = [ROOT / "test_persistence.py", *(ROOT / "tests").rglob("*.py")]
    there = {name for source in sources for name in re.findall(r"^def (test_\w+)", source.read_text(), re.MULTILINE)}
    there |= {source.stem for source in sources}
    told = page.read_text()
    assert set(re.findall(r"\btest_[a-z0-9_]+", told)) - there == set()
    files = set(re.findall(r"`([a-z_]+(?:/[a-z_0-9]+)*\.py)`", told))
    assert {file for file in files if not _stands_somewhere(file)} == set()


@needs_curl
def test_the_lines_work_when_they_are_pasted_in_order_and_the_answers_look_as_shown(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, worker_nice=0)
    told = README.replace(section("Accounts"), "")
    blocks = [(block, shown) for block, shown in blocks_and_answers(told) if ADDRESS in block]
    with api_process(settings) as api, worker_process(settings):
        statuses, compared = pasted(blocks, api, settings, tmp_path)
        [best, *_] = api.search("Who goes to sea?")
    assert set(statuses) == {"200"}
    assert len(statuses) > 20
    assert len(compared) > 10
    assert best["text"].startswith("Ships sail the seven seas.")
    assert [(answer, shown) for answer, shown in compared if not _has_the_shape(answer, shown)] == []


@needs_curl
def test_the_lines_about_accounts_work_with_keys(tmp_path: Path, remote: dict[str, Any]) -> None:
    settings = settings_in(tmp_path, auth_mode="keys", worker_nice=0, **remote)
    (tmp_path / "report.pdf").write_bytes(files.pdf())
    (tmp_path / "minutes.docx").write_bytes(files.word())
    with api_process(settings) as api, worker_process(settings):
        statuses, compared = pasted(blocks_and_answers(section("Accounts")), api, settings, tmp_path)
    assert set(statuses) == {"200", "201"}
    assert len(compared) > 5
    assert [(answer, shown) for answer, shown in compared if not _has_the_shape(answer, shown)] == []


def pasted(
    blocks: list[tuple[str, str]], api: Api, settings: Settings, folder: Path
) -> tuple[list[str], list[tuple[Any, Any]]]:
    """The statuses that curl saw, and the last answer of each block beside the one that is shown below it."""
    (folder / "manage.py").symlink_to(ROOT / "manage.py")
    script = "".join(f"{block}\necho '{BLOCK_ENDS}'\n" for block, _ in blocks)
    lines = SAY_STATUS + script.replace(ADDRESS, str(api.client.base_url).rstrip("/"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={**environment(settings), "PATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    statuses = re.findall(r"^HTTP (\d+)$", done.stderr, re.MULTILINE)
    assert len(statuses) >= sum(len(re.findall(r"\bcurl ", block)) for block, _ in blocks), done.stdout + done.stderr
    assert not set(statuses) - {"200", "201"}, done.stdout + done.stderr
    answers = [told.split("\n") for told in done.stdout.split(BLOCK_ENDS)[:-1]]
    last = [next((line for line in reversed(lines) if line.startswith("{")), "") for lines in answers]
    return statuses, [
        (json.loads(answer), json.loads(shown)) for answer, (_, shown) in zip(last, blocks, strict=True) if shown
    ]


def _meant(name: str, told: str) -> Any:
    """The value of a setting that a cell of the table stands for."""
    if told == "unset":
        return None
    value = getattr(Settings.model_validate({name: "" if told == "empty" else told.strip("`")}), name)
    return SecretStr("") if isinstance(value, SecretStr) and told == "empty" else value


def _has_the_shape(answer: Any, shown: Any) -> bool:
    """The same fields, all the way down, where both have something there."""
    if isinstance(answer, dict) and isinstance(shown, dict):
        if answer.get("status") == "running":  # a job's result is there piece by piece
            answer, shown = ({**each, "result": None} for each in (answer, shown))
        return answer.keys() == shown.keys() and all(_has_the_shape(answer[key], shown[key]) for key in shown)
    if isinstance(answer, list) and isinstance(shown, list):
        return all(_has_the_shape(one, other) for one, other in zip(answer, shown, strict=False))
    return None in (answer, shown) or type(answer) is type(shown)


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists():
        return False
    headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if target.is_file() else []
    return not anchor or anchor in [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]


def _stands_somewhere(file: str) -> bool:
    return (ROOT / file).exists() or any(
        (ROOT / folder / file).exists() for folder in ("tests", "api", "commands", "services")
    )
