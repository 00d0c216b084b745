"""manage.py mcp as an assistant starts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.processes import PATIENCE_SECONDS, ROOT
from tests.support.service import environment, put_migrated_file, settings_in


def message(number: int, method: str, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


def tool(number: int, name: str, **arguments: Any) -> str:
    return message(number, "tools/call", name=name, arguments=arguments)


def test_on_the_standard_streams_there_is_nothing_but_the_protocol(tmp_path: Path, remote: dict[str, Any]) -> None:
    settings = settings_in(tmp_path, **remote)
    put_migrated_file(settings.database_url)
    command = [sys.executable, str(ROOT / "manage.py"), "mcp", "--tenant", "acme", "--namespace", "notes"]
    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    conversation = [
        message(1, "initialize", **client),
        '{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        message(2, "tools/list"),
        "this is no message",
        tool(3, "add_document", doc_id="sea", text="Ships sail the seven seas."),
        tool(4, "search", query="ships"),
        tool(5, "fetch", id="other/sea"),
    ]
    with subprocess.Popen(
        command, env=environment(settings), stdin=-1, stdout=-1, stderr=-1, text=True, cwd=tmp_path
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        answers: dict[int, Any] = {}
        for line in conversation:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            while '"id"' in line and json.loads(line)["id"] not in answers:
                answer = json.loads(process.stdout.readline())
                answers[answer.get("id")] = answer.get("result")
        rest, log = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, rest) == (0, ""), log
    assert answers[1]["serverInfo"]["name"] == "ai3-datafactory"
    names = {each["name"] for each in answers[2]["tools"]}
    assert "add_document" in names and not {"ask", "list_namespaces"} & names
    assert answers[4]["structuredContent"]["results"][0]["id"] == "notes/sea"
    assert "for the namespace 'notes' alone" in answers[5]["content"][0]["text"]
