"""OpenAI's client for JavaScript, against a real API and a worker. Needs Node, and the package openai in NODE_PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import files
from tests.support.processes import ROOT, api_process, worker_process
from tests.support.service import Service

SCRIPT = ROOT / "tests" / "doors" / "openai_client.cjs"
HAS_PACKAGE = any(Path(folder, "openai").is_dir() for folder in os.environ.get("NODE_PATH", "").split(":") if folder)

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not HAS_PACKAGE,
    reason="no node, or no openai in NODE_PATH: npm install --prefix DIR openai, and NODE_PATH=DIR/node_modules",
)


@needs_node
def test_a_program_in_javascript_uploads_waits_and_searches(remote_service: Service, tmp_path: Path) -> None:
    report = tmp_path / "report.pdf"
    report.write_bytes(files.pdf())
    settings = remote_service.settings.model_copy(update={"worker_nice": 0})
    with api_process(settings) as api, worker_process(settings):
        url = f"{str(api.client.base_url).rstrip('/')}/v1"
        done = subprocess.run(["node", SCRIPT, url, report], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["statuses"], len(result["ids"])) == (["completed", "completed"], 2)
    assert result["hit"][:2] == [result["file"], "report.pdf"]
    assert "Ships sail the seven seas" in result["hit"][2]
