"""Who may import whom, and how large a room may be: checked from the code's own syntax."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).parents[2]

# From the top floor down. A room may import from the floors below its own, and from its own folder.
FLOORS: list[set[str]] = [
    {"bench", "examples"},
    {"app_v1", "worker", "manage"},
    {"commands"},
    {"api", "handlers", "housekeeping"},
    {"runtime"},
    {"services"},
    {"job_queue"},
    {"job_lease"},
    {"engines"},
    {"text"},
    {"index_manager"},
    {"index_building", "index_file"},
    {"loaded_index"},
    {"half_precision"},
    {"migrations"},
    {"event_log", "snapshot"},
    {"database"},
    {"models"},
    {"configuration"},
    {"settings", "tracing"},
    {
        "compression",
        "domain",
        "durable",
        "errors",
        "locations",
        "scratch",
        "logs",
        "metrics",
        "times",
        "version",
        "web",
    },
]
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}

# The same inside services/: a wing may import from those below its own, and from itself.
WINGS: list[set[str]] = [
    {"operations", "accounts", "evaluation", "answers", "stores"},
    {"erasure"},
    {"ingest", "search", "webhooks"},
    {"events"},
    {"index"},
]
WING = {wing: number for number, floor in enumerate(WINGS) for wing in floor}

# Libraries, and two modules, that belong to some rooms alone.
ONLY = {
    "faiss": {"index_building", "loaded_index", "bench"},
    "pgvector": {"models", "migrations", "bench"},
    "fastapi": {"app_v1", "api", "bench"},
    "starlette": {"app_v1", "api", "bench"},
    "sqlalchemy": {
        *("database", "models", "event_log", "snapshot", "job_queue", "job_lease", "services", "engines"),
        "migrations",
        "bench",
    },
    "torch": {"engines", "bench"},
    "openvino": {"engines", "bench"},
    "Stemmer": {"text"},
    "icu4py": {"text"},
    "typer": {"manage", "commands"},
    "cryptography": {"services"},
    "jinja2": {"api"},
    "limits": {"services"},
    "matplotlib": {"commands"},
    "ir_measures": {"services"},
    "scipy": {"services"},
    "models": {
        *("database", "event_log", "snapshot", "job_queue", "job_lease", "services", "engines"),
        *("worker", "handlers", "commands", "migrations", "bench"),
    },
    "settings": {"app_v1", "commands", "runtime", "api", "migrations", "configuration", "bench"},
    "obstore": {"engines"},
    "httpx": {"engines", "examples"},
    "httpcore": {"engines"},
    "multipart": {"api"},
    "mcp": {"api"},
    "mcp_types": {"api"},
    "zstandard": {"compression", "services", "migrations"},
    "lxml": {"text"},
    "webencodings": {"text"},
    "pypdfium2": {"text"},
    "python_calamine": {"text"},
}

LONGEST_CHAIN = 14
LONGEST_FILE, ONE_LONG_PAGE = 320, "models.py"
LONGEST_FUNCTION, MEDIAN_FUNCTION, NINE_OF_TEN_FUNCTIONS = 40, 6, 16


def sources() -> Iterator[Path]:
    for path in ROOT.rglob("*.py"):
        inside = path.relative_to(ROOT).parts
        is_hidden = any(part.startswith(".") for part in inside)
        if not is_hidden and "tests" not in inside and not path.name.startswith("test_"):
            yield path


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(sources())}
HOUSE = [name for name in MODULES if name.partition(".")[0] not in ("bench", "migrations")]


@cache
def imported(name: str, *, when_imported: bool = False) -> frozenset[str]:
    """Everything that the module imports, wherever in it, or only what it imports when it is imported itself."""
    tree = ast.parse(MODULES[name].read_text())
    names: set[str] = set()
    for node in tree.body if when_imported else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full in MODULES else node.module)
    return frozenset(names - {name})


def roots(name: str) -> set[str]:
    return {each.partition(".")[0] for each in imported(name)}


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_down(name: str) -> None:
    room = name.partition(".")[0]
    assert room in FLOOR, f"{room} stands on no floor: give it one above"
    upward = {other for other in roots(name) & FLOOR.keys() - {room} if FLOOR[other] <= FLOOR[room]}
    assert not upward, f"{room} may not import {sorted(upward)}"
    trespass = {other for other in roots(name) if other in ONLY and room not in ONLY[other] | {other}}
    assert not trespass, f"{sorted(trespass)} is not for {room}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("services.")])
def test_imports_between_the_wings_of_services_run_down(name: str) -> None:
    wing = name.split(".")[1]
    assert wing in WING, f"services/{wing} is no wing: give it a floor above"
    others = {other.split(".")[1] for other in imported(name) if other.startswith("services.")} - {wing}
    upward = {other for other in others if WING[other] <= WING[wing]}
    assert not upward, f"services/{wing} may not import {sorted(upward)}"


def longest_chain(*, when_imported: bool) -> list[str]:
    chains: dict[str, list[str]] = {}

    def chain(name: str, above: tuple[str, ...] = ()) -> list[str]:
        assert name not in above, f"a circle: {' -> '.join([*above[above.index(name) :], name])}"
        if name not in chains:
            others = sorted(imported(name, when_imported=when_imported))
            below = [chain(other, (*above, name)) for other in others if other in HOUSE]
            chains[name] = [name, *max(below, key=len, default=[])]
        return chains[name]

    return max((chain(name) for name in HOUSE), key=len)


def test_no_import_goes_in_a_circle_hidden_ones_included() -> None:
    assert longest_chain(when_imported=False)


def test_no_chain_of_imports_is_long() -> None:
    chain = longest_chain(when_imported=True)
    assert len(chain) <= LONGEST_CHAIN, " -> ".join(chain)


@pytest.mark.parametrize("name", MODULES)
def test_no_file_is_long(name: str) -> None:
    path = MODULES[name]
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST_FILE or path == ROOT / ONE_LONG_PAGE, f"{lines} lines: make it two files"


def test_functions_are_short() -> None:
    lengths: dict[str, int] = {}
    for name in HOUSE:
        for node in ast.walk(ast.parse(MODULES[name].read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                lengths[f"{name}.{node.name}:{node.lineno}"] = node.end_lineno - node.lineno + 1
    too_long = {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION}
    assert not too_long
    assert median(lengths.values()) <= MEDIAN_FUNCTION
    assert quantiles(lengths.values(), n=10)[-1] <= NINE_OF_TEN_FUNCTIONS


def test_no_room_hides_a_standard_module() -> None:
    assert not FLOOR.keys() & sys.stdlib_module_names


def test_importing_the_faces_opens_nothing_and_loads_no_model_library(tmp_path: Path) -> None:
    late = {"torch", "transformers", "openvino", "alembic", "scipy", "matplotlib", "ir_measures", "limits"}
    late |= {"obstore", "lxml", "pypdfium2", "mcp", "mcp_types", "jinja2", "api.console.app"}
    code = (
        "import sys, app_v1, worker, manage; assert app_v1.app\n"
        f"assert not {late} & set(sys.modules), sys.modules.keys()"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "DATABASE_URL": "not read at import"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("process", ["app_v1", "worker"])
def test_a_process_multiplies_matrices_on_one_thread(process: str, tmp_path: Path) -> None:
    """numpy's library reads the number when numpy loads, so what sets it has to be imported before.

    FAISS's own belongs to OpenMP, whose threads each search sets.
    """
    code = (
        f"import {process}, numpy; from threadpoolctl import threadpool_info\n"
        "threads = [each['num_threads'] for each in threadpool_info() if each.get('threading_layer') == 'pthreads']\n"
        "assert set(threads) == {1}, threads"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


def test_the_help_of_the_command_imports_nothing_that_a_command_needs(tmp_path: Path) -> None:
    heavy = {
        "pydantic",
        "pydantic_settings",
        "sqlalchemy",
        "numpy",
        "rich",
        "httpx",
        "fastapi",
        "alembic",
        "tokenizers",
    }
    ours = {"runtime", "services", "settings", "configuration", "models", "engines", "database", "text", "api"}
    code = (
        "import sys, manage; sys.argv = ['datafactory', '--help']\n"
        "try: manage.app()\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"assert not {heavy | ours} & set(sys.modules), {heavy | ours} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"doctor" in done.stdout
