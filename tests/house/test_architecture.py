"""Who may import whom. The floors of the house, checked from the code's own imports."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From the top floor down. A room may import from the floors below its own, and from its own folder.
FLOORS: list[set[str]] = [
    {"bench"},
    {"app_v1", "worker", "manage"},
    {"api", "console", "handlers"},
    {"runtime"},
    {"services"},
    {"job_queue"},
    {"engines"},
    {"text"},
    {"index_manager"},
    {"loaded_index"},
    {"migrations"},
    {"database"},
    {"models"},
    {"domain", "errors", "settings", "times", "version"},
]
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}

# Libraries, and one module, that belong to some rooms alone.
ONLY = {
    "faiss": {"loaded_index", "bench"},
    "pgvector": {"models", "migrations"},
    "fastapi": {"app_v1", "api"},
    "starlette": {"app_v1", "api", "bench"},
    "sqlalchemy": {*("database", "models", "job_queue", "services", "engines", "migrations", "api", "bench")},
    "torch": {"engines", "bench"},
    "openvino": {"engines", "bench"},
    "Stemmer": {"text"},
    "icu4py": {"text"},
    "typer": {"manage", "console"},
    "limits": {"services"},
    "matplotlib": {"console"},
    "ir_measures": {"services"},
    "scipy": {"services"},
    "settings": {"app_v1", "worker", "manage", "console", "runtime", "api", "migrations", "bench"},
    "obstore": {"engines"},
    "httpx": {"engines"},
    "httpcore": {"engines"},
    "multipart": {"api"},
    "lxml": {"text"},
    "docx": {"text"},
    "pptx": {"text"},
    "pypdfium2": {"text"},
    "python_calamine": {"text"},
}


def sources() -> Iterator[Path]:
    for path in ROOT.rglob("*.py"):
        inside = path.relative_to(ROOT).parts
        is_hidden = any(part.startswith(".") for part in inside)
        if not is_hidden and "tests" not in inside and not path.name.startswith("test_"):
            yield path


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", sorted(sources()), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_down(path: Path) -> None:
    room = room_of(path)
    assert room in FLOOR, f"{room} stands on no floor: give it one above"
    others = imported(path) & FLOOR.keys() - {room}
    upward = {name for name in others if FLOOR[name] <= FLOOR[room]}
    assert not upward, f"{room} may not import {sorted(upward)}"
    trespass = {name for name in imported(path) if name in ONLY and room not in ONLY[name] | {name}}
    assert not trespass, f"{sorted(trespass)} is not for {room}"


def test_no_room_hides_a_standard_module() -> None:
    assert not FLOOR.keys() & sys.stdlib_module_names


def test_importing_the_faces_opens_nothing_and_loads_no_model_library(tmp_path: Path) -> None:
    late = {"torch", "transformers", "openvino", "alembic", "scipy", "matplotlib", "ir_measures", "limits"}
    late |= {"obstore", "lxml", "docx", "pptx", "pypdfium2"}
    code = (
        "import sys, app_v1, worker, manage; assert app_v1.app\n"
        f"assert not {late} & set(sys.modules), sys.modules.keys()"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "DATABASE_URL": "not read at import"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
