"""examples/, run as their readers run them: against a real service, with a key."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domain import ANYONE, Scope
from runtime.opening import open_runtime
from tests.support import files
from tests.support.processes import ROOT, api_process, worker_process
from tests.support.service import settings_in

EXAMPLES = ROOT / "examples"
DOCS = [
    {"doc_id": "ships", "metadata": {"topic": "harbour", "year": 2019}, "text": "Ships sail the seven seas."},
    {"doc_id": "boats", "metadata": {"topic": "harbour", "year": 1999}, "text": "Boats go to sea."},
    {"doc_id": "licences", "text": "Licences are renewed every year in March."},
]
Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, remote: dict[str, Any]) -> Iterator[Run]:
    """Runs a program with a service and a key, and returns what it printed."""
    settings = settings_in(tmp_path_factory.mktemp("examples"), auth_mode="keys", worker_nice=0, **remote)
    with open_runtime(settings) as runtime:
        runtime.accounts.teams.create_team("acme")
        key = runtime.accounts.keys.issue("acme", name="", scopes=[Scope.ADMIN], expires_at=None, by=ANYONE).key
        for namespace in ("handbook", "notebook"):
            runtime.accounts.teams.create_project("acme", namespace)
    with api_process(settings) as api, worker_process(settings):
        ours = {"DATAFACTORY_URL": str(api.client.base_url).rstrip("/"), "DATAFACTORY_KEY": key}
        environment = {**os.environ, **ours, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

        def run(*command: object, given: str = "") -> str:
            words = [str(each) for each in command]
            done = subprocess.run(words, input=given, env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        yield run


def test_a_batch_then_a_search_with_filters_then_a_question(run: Run) -> None:
    stored = run(sys.executable, EXAMPLES / "batch_with_retry.py", "handbook", given="\n".join(map(json.dumps, DOCS)))
    assert json.loads(stored)["upserted_docs"] == 3
    hits = json.loads(run(EXAMPLES / "search.sh", "handbook", 'Who goes to "sea"?', "harbour", 2015))
    assert [chunk["doc_id"] for chunk in hits["chunks"]] == ["ships"]
    answer = run(sys.executable, EXAMPLES / "ask.py", "handbook", "When are licences renewed?")
    assert "[1] licences: Licences are renewed every year in March." in answer


def test_a_batch_is_tried_again_where_nobody_answers(tmp_path: Path) -> None:
    environment = {**os.environ, "DATAFACTORY_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", f"import runpy, time; time.sleep = lambda _: None; {RUN}", "handbook"]
    done = subprocess.run(command, input="{}", env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.findall(r"^ConnectError: trying again in (\d+) s$", done.stderr, re.M) == ["2", "4", "8", "16", "30"]


RUN = f"runpy.run_path({str(EXAMPLES / 'batch_with_retry.py')!r}, run_name='__main__')"


def test_a_pdf_is_uploaded_and_its_job_is_waited_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(files.pdf())
    for _ in range(2):  # the second time there is no job
        document = json.loads(run(EXAMPLES / "upload_pdf.sh", "handbook", tmp_path / "report.pdf"))
        assert (document["doc_id"], document["status"]) == ("report.pdf", "ready")


def test_a_folder_is_uploaded_and_waited_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "what?.md").write_text("# Cats\n\nCats sleep all day.")
    (tmp_path / "none.pdf").write_bytes(b"%PDF-1.4 nothing")
    lines = run(sys.executable, EXAMPLES / "ingest_folder.py", tmp_path, "--namespace", "handbook").splitlines()
    assert lines[0] == "a folder/what?.md: ready"
    assert lines[1].startswith("none.pdf: failed ")


def test_the_cells_of_the_notebook_run_in_their_order(run: Run) -> None:
    cells = json.loads((EXAMPLES / "first_five_minutes.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in cells if cell["cell_type"] == "code"] == [[]] * len(code)
    printed = run(sys.executable, "-c", "\n".join(code))
    assert "ships: Ships sail the seven seas." in printed
    assert "1 licences" in printed


def test_every_example_is_listed_and_run_here() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh", ".ipynb")}
    assert set(re.findall(r"\]\((\w+\.\w+)\)", (EXAMPLES / "README.md").read_text())) == names
    assert {name for name in names if name not in Path(__file__).read_text()} == set()
