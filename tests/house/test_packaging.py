"""pyproject.toml and requirements.lock, held against the code, the requirement files and what is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.support.processes import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
BY_THE_SYSTEM = {"pip", "setuptools", "wheel"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(*files: str) -> dict[str, str]:
    text = "\n".join((ROOT / file).read_text() for file in files)
    return {normal(name): version for name, version in re.findall(r"^([\w.-]+)(?:\[\w+\])?==(\S+)", text, re.MULTILINE)}


def test_every_module_and_package_of_the_service_is_installed() -> None:
    setuptools = PYPROJECT["tool"]["setuptools"]
    modules = {path.stem for path in ROOT.glob("*.py") if not path.name.startswith("test_")}
    assert set(setuptools["py-modules"]) == modules
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench", "examples"}
    assert {each.rstrip("*") for each in setuptools["packages"]["find"]["include"]} == packages


def test_every_file_of_the_console_is_installed() -> None:
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["web"]
    packaged = {path for pattern in patterns for path in (ROOT / "web").glob(pattern)}
    there = {path for path in (ROOT / "web").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert packaged == there and len(there) > 15


def test_the_versions_of_the_lock_are_those_of_the_requirement_files() -> None:
    locked = {normal(name): version for name, version in LOCK.items()}
    required = pinned("requirements.txt", "requirements-dev.txt")
    assert len(required) > 50
    assert {name: version for name, version in required.items() if locked.get(name) != version} == {}


def test_the_lock_has_every_package_that_a_requirement_needs_at_the_tested_version() -> None:
    locked = {normal(name): version for name, version in LOCK.items()}
    waiting, seen = list(pinned("requirements.txt", "requirements-dev.txt")), set[str]()
    while waiting:
        name = normal(waiting.pop())
        if name in seen | BY_THE_SYSTEM:
            continue
        seen.add(name)
        installed = distribution(name)
        assert locked.get(name) == installed.version.partition("+")[0], f"{name}: run script/lock"
        needed = [each for each in installed.requires or [] if ";" not in each]
        waiting += [re.split(r"[^\w.-]", each, maxsplit=1)[0] for each in needed]
    assert len(seen) > len(pinned("requirements.txt", "requirements-dev.txt"))


def test_the_lock_names_no_host() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line)] == []


@pytest.mark.parametrize(
    ("program", "instead"),
    [
        ("manage.py", "then .venv/bin/datafactory"),
        ("app_v1.py", "then .venv/bin/python app_v1.py"),
        ("worker.py", "then .venv/bin/python worker.py"),
    ],
)
def test_a_python_without_the_packages_says_in_a_line_what_to_run(program: str, instead: str, tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", f"import sys, runpy; sys.path[:0] = [{str(ROOT)!r}]; {RUN}", program]
    done = subprocess.run(command, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert re.search(rf"this Python has no \w+\. Run script/environment once, {re.escape(instead)}$", line), line


RUN = f"runpy.run_path({str(ROOT)!r} + '/' + sys.argv[1], run_name='__main__')"
