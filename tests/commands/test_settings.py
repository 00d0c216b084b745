"""A wrong or misspelt setting is one line at every entry, and .env is read by each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from settings import Settings
from tests.support.postgres import free_port
from tests.support.processes import ROOT
from tests.support.service import MODEL

ENTRIES = {
    "api": [str(ROOT / "app_v1.py"), "--port"],
    "uvicorn": ["-m", "uvicorn", "app_v1:app", "--app-dir", str(ROOT), "--log-level", "error", "--port"],
    "worker": [str(ROOT / "worker.py")],
    "manage": [str(ROOT / "manage.py"), "jobs"],
}
SECRET = "top-secret-key"


def started(entry: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """An entry in that folder, with nothing set but *environment*."""
    port = [str(free_port())] if entry in ("api", "uvicorn") else []
    ours = {"PATH": os.environ["PATH"], "HOME": str(folder), "MIN_FREE_DISK_MB": "0", **environment}
    command = [sys.executable, *ENTRIES[entry], *port]
    return subprocess.run(command, cwd=folder, env=ours, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_wrong_value_is_a_line_that_says_what_is_allowed(entry: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAX_PAGES=many\n")
    done = started(entry, tmp_path, AUTH_MODE="key", CORS_ORIGINS="a/b", LLM_API_KEY=SECRET)
    assert done.returncode == (3 if entry == "uvicorn" else 2), done.stderr
    expected = [
        "AUTH_MODE='key' is not allowed: Input should be 'open' or 'keys'.",
        "MAX_PAGES='many' is not allowed: Input should be a valid integer, unable to parse string as an integer.",
        "CORS_ORIGINS='a/b' is not allowed: 'a/b' is no origin",
    ]
    assert [line for each in expected for line in done.stderr.splitlines() if each in line] != []
    assert all(each in done.stderr for each in expected), done.stderr
    assert "Traceback" not in done.stderr and SECRET not in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / ".env"]


def test_a_location_that_leads_nowhere_is_refused_at_the_start(tmp_path: Path) -> None:
    wrong = {
        "EMBED_BASE_URL": "localhost:8080",
        "RERANK_BASE_URL": "qq",
        "LLM_BASE_URL": "https://:443/v1",
        "RATE_LIMIT_URL": "foo://x",
        "FETCH_ALLOW_HOSTS": "intranet.example.com, ///",
    }
    done = started("manage", tmp_path, **wrong)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == len(wrong)
    assert all(f"{name}={value!r} is not allowed: " in done.stderr for name, value in wrong.items()), done.stderr
    assert "secret" not in started("manage", tmp_path, RATE_LIMIT_URL="reds://:secret@counter:6379").stderr


def test_locations_of_every_allowed_form_are_read() -> None:
    locations: dict[str, Any] = {
        "llm_base_url": "http://[::1]:8080/v1",
        "embed_base_url": "https://user:password@models.example.com/v1",
        "rate_limit_url": "rediss+cluster://redis:6379",
        "fetch_allow_hosts": "intranet, files.example.com., 10.0.0.0/8, fd00::/8, 192.168.1.7",
    }
    assert Settings(**locations).model_dump(include=set(locations)) == locations


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_keeps_a_process_from_starting_is_one_line(entry: str, tmp_path: Path) -> None:
    done = started(entry, tmp_path, DATABASE_URL="sqlite:////there/is/no/such/folder/rag.db")
    assert done.returncode in (1, 3)
    [line] = [line for line in done.stderr.splitlines() if "/there/is/no" in line]
    assert "does not exist: create it first" in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("entry", ["api", "worker", "manage"])
def test_a_misspelt_name_in_the_file_stops_the_start(entry: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=of-another-program\nEMBED_MODEL_NAM=x\nEMBED_MODEL=x\n")
    done = started(entry, tmp_path)
    assert done.returncode == 2
    assert [line.partition(": ")[2] for line in done.stderr.splitlines()] == [
        ".env: EMBED_MODEL is not a setting: is EMBED_MODEL_NAME meant?",
        ".env: EMBED_MODEL_NAM is not a setting: is EMBED_MODEL_NAME meant?",
    ]


def test_a_misspelt_variable_is_a_warning_because_it_may_be_another_programs(tmp_path: Path) -> None:
    done = started("manage", tmp_path, DATABASE_URI="x", LLM_MODEL_NAME="x", JOB_NAME="of the CI", PAGER="less")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("warning: ")] == [
        "warning: DATABASE_URI is not a setting: is DATABASE_URL meant?",
        "warning: LLM_MODEL_NAME is not a setting: is LLM_MODEL meant?",
    ]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"LLM_MODEL=\xff\n")
    done = started("manage", tmp_path)
    assert (done.returncode, done.stderr) == (2, f"error: The file {tmp_path}/.env cannot be read: it is not UTF-8.\n")


def test_the_environment_wins_over_the_file_and_a_new_database_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DATABASE_URL=sqlite:///./mine.db\nEMBED_MODEL_NAME={MODEL}\nLLM_MODEL=small\n")
    done = started("manage", tmp_path, LLM_MODEL="large")
    assert f"DATABASE_URL is relative to the current folder: {tmp_path}/mine.db" in done.stderr
    assert (tmp_path / "mine.db").exists()
    assert "DATABASE_URL" not in started("manage", tmp_path).stderr
    command = [sys.executable, str(ROOT / "manage.py"), "settings"]
    environment = {"PATH": os.environ["PATH"], "LLM_MODEL": "large"}
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in shown.splitlines()]
    assert ["LLM_MODEL", "large"] in lines
    assert ["EMBED_MODEL_NAME", MODEL] in lines
