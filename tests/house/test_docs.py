"""README and docs/, held against the code: what they name exists, what exists is named, and their lines work.

Every page is pasted by itself, as its readers do: in a tenant and a folder of its own, after the documents that README
stores first. The open pages share one API and one worker; the page about accounts has a pair with AUTH_MODE=keys.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import manage
from app_v1 import create_app
from commands import limits_page, settings_page
from settings import Settings
from tests.support import files
from tests.support.accounts import SECRET
from tests.support.processes import ROOT, Api, api_process, worker_process
from tests.support.service import environment, settings_in

README = ROOT / "README.md"
DOCS = ROOT / "docs"
ACCOUNTS = DOCS / "accounts.md"
GUIDE = [README, *sorted(DOCS.glob("*.md"))]
PAGES = [
    *GUIDE,
    *(ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((DOCS / "decisions").glob("*.md")),
]
TEXT = "\n".join(page.read_text() for page in GUIDE)
LONGEST_README = 220
ADDRESS = "http://localhost:8000"
METHODS = "GET|POST|PUT|PATCH|DELETE"
# Variables that others read: S3 clients, Compose.
FOREIGN = {"AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ALLOW_HTTP"} | {
    *("POSTGRES_PASSWORD", "JWT_SECRET", "RAG_API_URL")
}
TENANT = "acme"
SAME = {"doc_id", "answer", "status", "code", "detail", "result"}
BLOCK_ENDS = "-- the block ends --"
SAY_STATUS = """
curl() { command curl -w '\\n%{stderr}HTTP %{http_code}\\n' "$@"; }
"""

needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None, reason="curl is not installed: the lines on the pages cannot be run"
)


class Block(NamedTuple):
    """Lines to paste, and the answer that stands right below them, if one is."""

    lines: str
    answer: str


class Answer(NamedTuple):
    """The last answer to a block, and the one that the page shows."""

    actual: Any
    example: Any


class Running(NamedTuple):
    api: Api
    settings: Settings


def blocks_of(page: Path) -> list[Block]:
    """Those that speak to the service, in their order; not those that install or start it."""
    pattern = r"^```bash\n(.*?)^```$(?:\n\n```json\n(.*?)^```$)?"
    blocks = [Block(*each) for each in re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)]
    return [block for block in blocks if ADDRESS in block.lines or "python manage.py" in block.lines]


PASTED = [page for page in GUIDE if blocks_of(page)]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def links_of(page: Path) -> list[str]:
    """Those that lead to other files or headings of the repository."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("http:", "https:"))]


def targets_of(page: Path) -> set[Path]:
    if page.suffix != ".md":
        return set()
    return {
        Path(os.path.normpath(page.parent / link.partition("#")[0]))
        for link in links_of(page)
        if not link.startswith("#")
    }


def endpoints() -> dict[tuple[str, str], Path]:
    """Each endpoint of docs/endpoints.md with the page that it links to."""
    table = (DOCS / "endpoints.md").read_text()
    rows = re.findall(rf"^\| `({METHODS}) (/\S+)` \| \[[^\]]+\]\(([^)#]+)", table, re.MULTILINE)
    return {(method, path): DOCS / link for method, path, link in rows}


def fields_of_requests() -> set[str]:
    document = create_app().openapi()
    bodies = [each for name, each in document["components"]["schemas"].items() if name.endswith("In")]
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    forms = [each.get("requestBody", {}).get("content", {}).get("multipart/form-data") for each in operations]
    bodies += [form["schema"] for form in forms if form]
    in_paths_and_headers = {each["name"] for operation in operations for each in operation.get("parameters", [])}
    return in_paths_and_headers | {field for each in bodies for field in each["properties"]}


def test_the_openapi_document_describes_only_what_a_path_takes_or_answers() -> None:
    document = create_app().openapi()
    schemas = document["components"]["schemas"]
    reached: set[str] = set()
    waiting = [document["paths"], {key: each for key, each in document["components"].items() if key != "schemas"}]
    while waiting:
        names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(waiting.pop()))) - reached
        reached |= names
        waiting += [schemas[name] for name in names]
    assert set(schemas) == reached


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= LONGEST_README


def test_every_endpoint_is_named_and_every_named_one_exists() -> None:
    paths = create_app().openapi()["paths"]
    existing = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert set(endpoints()) == existing
    assert set(re.findall(rf"\b({METHODS}) (/[^\s`\"?]+)", TEXT)) == existing


def test_every_endpoint_is_on_the_page_that_the_table_links_to_and_that_page_is_pasted() -> None:
    for (_, path), page in endpoints().items():
        pattern = re.sub(r"\\\{\w+\\\}", r"[^/\\s?\"]+", re.escape(path))
        assert re.search(rf"{pattern}(?![\w/])", page.read_text()), f"{named(page)} does not speak of {path}"
    assert set(endpoints().values()) <= set(PASTED)


def test_every_field_of_a_request_is_named() -> None:
    fields = fields_of_requests()
    assert {"tenant_id", "chunk_overlap", "after", "file"} <= fields
    assert {each for each in fields if not _is_named(each)} == set()


def _is_named(field: str) -> bool:
    name = re.escape(field)
    return re.search(rf'[`"]{name}[`"]|[?& ]{name}=', TEXT, re.IGNORECASE) is not None


def test_the_page_of_settings_is_the_one_that_is_generated() -> None:
    how = "python manage.py settings --markdown > docs/settings.md"
    page = settings_page.markdown()
    assert (DOCS / "settings.md").read_text() == page + "\n", f"not generated: {how}"
    rows = re.findall(r"^\| `([A-Z_]+)` \| .+ \| .+ \|$", page, re.MULTILINE)
    assert [name.lower() for name in rows] == list(Settings.model_fields)


def test_the_page_of_limits_is_the_one_that_is_generated() -> None:
    how = "python manage.py limits --markdown > docs/limits.md"
    assert (DOCS / "limits.md").read_text() == limits_page.markdown() + "\n", f"not generated: {how}"


def test_the_command_shows_the_limits_in_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_BODY_MB", "7")
    monkeypatch.setenv("JOB_KEEP_DAYS", "0")
    output = CliRunner().invoke(manage.app, ["limits"]).output
    assert re.search(r"^Large bodies that a process receives at once +28 MB +4 times MAX_BODY_MB +Waits", output, re.M)
    assert re.search(r"^Finished jobs are kept +0 days +JOB_KEEP_DAYS", output, re.M)
    assert re.search(r"^Requests of a key +none +RATE_LIMIT_PER_KEY", output, re.M)


def test_every_limit_of_a_field_is_a_line_of_the_page_of_limits() -> None:
    document = create_app().openapi()
    lines = [line.lower() for line in limits_page.markdown().splitlines()]
    limits = set(_limits_in(document["paths"])) | set(_limits_in(document["components"]["schemas"]))
    assert len(limits) > 40
    assert {(field, most) for field, most in limits if not _is_stated(lines, field, most)} == set()


def test_every_setting_that_limits_something_is_on_the_page_of_limits() -> None:
    kinds = r"max_|rate_limit_per_|extract_|job_|worker_s|memory_|.*_(memory_mb|timeout_seconds|keep_days|per_minute)$"
    limiting = {name.upper() for name in Settings.model_fields if re.match(kinds, name)}
    assert len(limiting) > 35
    assert limiting - set(re.findall(r"`([A-Z_]+)`", limits_page.markdown())) == set()


def test_every_code_of_a_warning_is_on_the_page_of_files() -> None:
    sources = [ROOT / path for path in _sources() if path.startswith(("text/", "services/", "engines/", "models"))]
    pattern = r'(?:\bwarn\(|\bCaveat\(|"code": )\s*"([a-z_]+)"'
    codes = {code for each in sources for code in re.findall(pattern, each.read_text())}
    assert len(codes) > 10
    table = (DOCS / "files.md").read_text().partition("| Code |")[2].partition("\n\n")[0]
    assert {code for line in table.splitlines()[2:] for code in re.findall(r"`([a-z_]+)`", line.split("|")[1])} == codes


def test_no_setting_is_named_that_does_not_exist() -> None:
    names = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", TEXT)) | set(re.findall(r"\b([A-Z]+(?:_[A-Z]+)+)=", TEXT))
    ours = {name for name in names - FOREIGN if not name.startswith("OTEL_")}
    assert {name for name in ours if name.lower() not in Settings.model_fields} == set()


def test_every_command_of_manage_is_named_and_every_named_one_exists() -> None:
    existing = set(getattr(get_command(manage.app), "commands", {}))
    table = re.findall(r"^\| `python manage\.py ([a-z-]+)", (DOCS / "operating.md").read_text(), re.MULTILINE)
    assert set(table) == existing
    assert set(re.findall(r"(?:manage\.py|bin/datafactory) ([a-z][a-z-]*)", TEXT)) == existing


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [link for link in links_of(page) if not _leads_somewhere(page, link)] == []


@pytest.mark.parametrize(
    "answer",
    [
        "docs/files.md#upload-files",
        "docs/jobs.md#change-the-embedding-model",
        "docs/operating.md#backup-and-restore",
        "docs/accounts.md#the-first-key",
        "docs/answers.md#the-language-model",
        "CONTRIBUTING.md#add-a-file-type",
        "tests/unit/test_filters.py",
        "tests/service/test_filtered_search.py",
    ],
)
def test_what_strangers_ask_is_at_most_two_clicks_from_readme(answer: str) -> None:
    target = ROOT / answer.partition("#")[0]
    assert _leads_somewhere(README, answer)
    assert any(target in (first, *targets_of(first)) for first in targets_of(README))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_test_and_file_that_is_named_exists(page: Path) -> None:
    tests = [ROOT / path for path in _sources() if "test" in path]
    existing = {name for each in tests for name in re.findall(r"^def (test_\w+)", each.read_text(), re.MULTILINE)}
    existing |= {each.stem for each in tests}
    text = page.read_text()
    assert set(re.findall(r"\btest_[a-z0-9_]+", text)) - existing == set()
    names = set(re.findall(r"`([a-z_]+(?:/[a-z_0-9]+)*\.py)`", text))
    assert {name for name in names if not any(f"/{path}".endswith(f"/{name}") for path in _sources())} == set()


def test_every_page_of_the_guide_is_linked_from_readme() -> None:
    assert set(GUIDE) - {README} <= targets_of(README)


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory, remote: dict[str, Any]) -> Iterator[Running]:
    """An open service."""
    with running(settings_in(tmp_path_factory.mktemp("open"), worker_nice=0, **remote)) as service:
        yield service


@needs_curl
@pytest.mark.parametrize("page", [page for page in PASTED if page != ACCOUNTS], ids=named)
def test_the_lines_of_a_page_work_and_the_answers_look_as_shown(
    page: Path, open_service: Running, tmp_path: Path
) -> None:
    first = [] if page == README else blocks_of(README)[:1]
    answers = pasted([*first, *blocks_of(page)], open_service, tmp_path, tenant=f"{TENANT}_{page.stem.lower()}")
    assert [answer for answer in answers if not _has_the_shape(*answer)] == []


@needs_curl
def test_the_lines_about_accounts_work_with_keys(tmp_path: Path, remote: dict[str, Any]) -> None:
    settings = settings_in(tmp_path, auth_mode="keys", worker_nice=0, derived_key_secret=SECRET, **remote)
    with running(settings) as service:
        answers = pasted(blocks_of(ACCOUNTS), service, tmp_path, tenant=TENANT)
    assert len(answers) > 5
    assert [answer for answer in answers if not _has_the_shape(*answer)] == []


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    with api_process(settings) as api, worker_process(settings):
        yield Running(api, settings)


def pasted(blocks: list[Block], service: Running, folder: Path, *, tenant: str) -> list[Answer]:
    """The blocks that show an answer, with the last one that they got. No line may fail, unless it shows its error."""
    (folder / "report.pdf").write_bytes(files.pdf())
    (folder / "minutes.docx").write_bytes(files.word())
    (folder / "manage.py").symlink_to(ROOT / "manage.py")
    (folder / "docs").symlink_to(DOCS)
    script = "".join(f"{block.lines}\necho '{BLOCK_ENDS}'\n" for block in blocks)
    script = script.replace(".venv/bin/datafactory", "python manage.py")  # test_first_page runs that one
    script = re.sub(rf"\b{TENANT}\b", tenant, script).replace(ADDRESS, str(service.api.client.base_url).rstrip("/"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", SAY_STATUS + script],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={**environment(service.settings), "PATH": path},
    )
    answers = [_read(block.answer) if block.answer else None for block in blocks]
    statuses = re.findall(r"^HTTP (\d+)$", done.stderr, re.MULTILINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(statuses) >= sum(len(re.findall(r"\bcurl ", block.lines)) for block in blocks), done.stderr
    allowed = {"200", "201", "202"} | {
        str(each["status"]) for each in answers if each and "title" in each and "error" in each
    }
    assert set(statuses) <= allowed, done.stdout + done.stderr
    outputs = [block.splitlines() for block in done.stdout.split(BLOCK_ENDS)[:-1]]
    last = [next((line for line in reversed(lines) if line.startswith("{")), "") for lines in outputs]
    return [Answer(json.loads(line), each) for line, each in zip(last, answers, strict=True) if each is not None]


def _read(example: str) -> Any:
    """An answer on a page, with a member "…" where an … stands for those that are left out."""
    example = re.sub(r",\s*…(?=\s*\})", ', "…": null', example)
    return json.loads(re.sub(r",\s*…(?=\s*\])", "", example))


def _has_the_shape(actual: Any, example: Any) -> bool:
    """The same fields, all the way down, where both have something there; and the same words where they are SAME."""
    if isinstance(actual, dict) and isinstance(example, dict):
        if actual.get("status") == "running":  # a job's result is there piece by piece
            actual, example = ({**each, "result": None} for each in (actual, example))
        is_whole = "…" not in example
        names = example.keys() - {"…"}
        fits = names == actual.keys() if is_whole else names < actual.keys()
        is_same = all(actual[name] == example[name] for name in names & SAME if "…" not in str(example[name]))
        return fits and is_same and all(_has_the_shape(actual[name], example[name]) for name in names)
    if isinstance(actual, list) and isinstance(example, list):
        return all(_has_the_shape(one, other) for one, other in zip(actual, example, strict=False))
    return None in (actual, example) or type(actual) is type(example)


def _limits_in(schema: Any, name: str = "") -> Iterator[tuple[str, int | str]]:
    """Each field or parameter of a request with the most that the OpenAPI document says of it; or the setting's name.

    What a column of the database holds of an integer is no limit that anybody meets.
    """
    if isinstance(schema, list):
        for each in schema:
            yield from _limits_in(each, name)
    if not isinstance(schema, dict):
        return
    most = [schema[each] for each in ("maxLength", "maxItems", "maxProperties", "maximum") if each in schema]
    if name and most and most[0] < 2**31 - 1:
        yield name, schema.get("x-setting", int(most[0]))
    for key, each in schema.items():
        if key == "properties":
            for field, inner in each.items():
                yield from _limits_in(inner, field)
        else:
            yield from _limits_in(each, str(schema["name"]) if key == "schema" and "name" in schema else name)


def _is_stated(lines: list[str], field: str, most: int | str) -> bool:
    value = f"`{most}`" if isinstance(most, str) else f"{most:,}"
    return any(f"`{field}`".lower() in line and value.lower() in line for line in lines)


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists():
        return False
    headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if target.suffix == ".md" else []
    return not anchor or anchor in [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]


@cache
def _sources() -> frozenset[str]:
    """Every Python file of the repository, from its root on."""
    paths = set()
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [each for each in folders if not each.startswith(".")]
        paths |= {str((Path(folder) / name).relative_to(ROOT)) for name in names if name.endswith(".py")}
    return frozenset(paths)
