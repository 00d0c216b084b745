"""Temporary folders: those of a process that was killed go, those in use stay."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scratch import Scratch, sweep_scratch
from tests.support.processes import ROOT


def test_the_folder_of_a_killed_process_goes_and_one_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "import os, scratch; each = scratch.Scratch(); (each.path / 'file').write_text('A secret.'); os._exit(9)"
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"TMPDIR": str(tmp_path)}, check=False)
    assert killed.returncode == 9
    with Scratch() as used:
        (used / "file").write_text("In use.")
        assert sweep_scratch() == 0  # it may be about to be locked
        assert sweep_scratch(young_seconds=0) == 1
        assert list(tmp_path.iterdir()) == [used]
    assert list(tmp_path.iterdir()) == []
