"""What a parser that was taken over by a file could reach: neither the database, nor the worker, nor the network."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engines.extraction.extractor import Extractor
from engines.extraction.sandbox import ADVICE, FILES, NETWORK
from services.operations.diagnosing import DiagnosingService
from tests.service.test_extracting import LIMITS
from tests.support.processes import ROOT
from tests.support.service import Service

HELD = Extractor(LIMITS).protections()

ATTACK = """
import json, os, socket, subprocess, sys
from pathlib import Path
from engines.extraction.sandbox import confine

database, parent, port, is_confined = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "confined"
if is_confined:
    confine([Path.cwd()])

def succeeds(what):
    try:
        what()
    except OSError:
        return False
    return True

def connect(family, address):
    with socket.socket(family) as connection:
        connection.connect(address)

reached = {
    "database": succeeds(lambda: open(database, "rb").read(1)),
    "database, to write": succeeds(lambda: open(database, "ab")),
    "database's folder": succeeds(lambda: os.listdir(os.path.dirname(database))),
    "environ": succeeds(lambda: open(f"/proc/{parent}/environ", "rb").read(1)),
    "memory": succeeds(lambda: open(f"/proc/{parent}/mem", "rb")),
    "loopback": succeeds(lambda: connect(socket.AF_INET, ("127.0.0.1", port))),
    "udp": succeeds(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()),
    "by a program": subprocess.run(["cat", database], check=False, capture_output=True).returncode == 0,
    "own folder": succeeds(lambda: Path("scratch").write_text("x")),
    "python": succeeds(lambda: __import__("lxml.etree")),
}
print(json.dumps(reached))
"""
OF_FILES = ("database", "database, to write", "database's folder", "environ", "memory", "by a program")
OF_NETWORK = ("loopback", "udp")


def reached(tmp_path: Path, how: str) -> dict[str, bool]:
    database, folder = tmp_path / "data" / "rag.db", tmp_path / "scratch"
    database.parent.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    database.write_bytes(b"SQLite format 3")
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = [str(database), str(os.getpid()), str(server.getsockname()[1]), how]
        done = subprocess.run(
            [sys.executable, "-P", "-c", ATTACK, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        )
    outcomes: dict[str, bool] = json.loads(done.stdout)
    return outcomes


def test_what_a_reader_reaches_is_closed_to_it_as_far_as_the_machine_says_so(tmp_path: Path) -> None:
    free = reached(tmp_path, "free")
    assert all(free.values()), "what is tried here succeeds where nothing is closed"
    confined = reached(tmp_path, "confined")
    assert (confined["own folder"], confined["python"]) == (True, True)
    if FILES in HELD:
        assert {name: confined[name] for name in OF_FILES} == dict.fromkeys(OF_FILES, False)
    if NETWORK in HELD:
        assert {name: confined[name] for name in OF_NETWORK} == dict.fromkeys(OF_NETWORK, False)
    if not HELD:
        pytest.skip("this machine has none of the protections")


def test_the_doctor_says_which_protections_hold_and_what_to_do_about_the_others(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finding_with(held: list[str]) -> Any:
        monkeypatch.setattr(Extractor, "protections", lambda _: held)
        diagnosing: DiagnosingService = service.runtime.operations.diagnosing
        [finding] = [each for each in diagnosing.examine() if each.name == "file reader"]
        return finding

    whole, half = finding_with([FILES, NETWORK]), finding_with([NETWORK])
    assert (whole.detail, whole.is_warning) == ("files: closed to it\nnetwork: closed to it", False)
    assert (half.detail, half.is_ok, half.is_warning) == (f"{ADVICE[FILES]}\nnetwork: closed to it", True, True)
