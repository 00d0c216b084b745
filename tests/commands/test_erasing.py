"""manage.py erase, erasures and verify-receipt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import manage
from services.erasure.receipts import fingerprint
from tests.support.service import PLACE, Service, Store, environment

on_sqlite = pytest.mark.parametrize("service", [Store.SQLITE], indirect=True)
WHERE = ["--tenant", PLACE["tenant_id"], "--namespace", PLACE["namespace"]]


def run(service: Service, *arguments: str, expect: int = 0) -> str:
    result = CliRunner().invoke(manage.app, [*arguments], env=environment(service.settings))
    assert result.exit_code == expect, result.output
    return result.output


@on_sqlite
def test_documents_are_erased_listed_and_their_receipts_checked_offline(service: Service, tmp_path: Path) -> None:
    service.batch({"one": "Cats sleep.", "two": "Dogs bark."})
    started = run(service, "erase", *WHERE, "--doc-id", "one", "--reason", "asked for")
    erasure_id = started.split()[1].rstrip(",")
    assert "pending" in run(service, "erasures")
    service.work()
    assert "completed" in run(service, "erasures", "--tenant", PLACE["tenant_id"])
    receipt: Any = json.loads(run(service, "erasures", "--receipt", erasure_id))
    (tmp_path / "receipt.json").write_text(json.dumps(receipt))
    key = fingerprint(receipt["public_key"])
    assert f"receipt 1 of {receipt['finished_at']}" in run(service, "verify-receipt", str(tmp_path / "receipt.json"))
    run(service, "verify-receipt", str(tmp_path / "receipt.json"), "--public-key", key)
    run(service, "verify-receipt", str(tmp_path / "receipt.json"), "--public-key", "0" * 16, expect=1)
    (tmp_path / "receipt.json").write_text(json.dumps({**receipt, "reason": "asked fur"}))
    assert "was changed" in run(service, "verify-receipt", str(tmp_path / "receipt.json"), expect=1)
    run(service, "erasures", "--export", str(tmp_path / "all.json"))
    assert "a chain of 1 receipts" in run(service, "verify-receipt", str(tmp_path / "all.json"))
    run(service, "verify-receipt", str(tmp_path / "none.json"), expect=1)
    run(service, "erase", *WHERE, expect=1)
    run(service, "erase", *WHERE, "--whole-namespace", "another", expect=1)
    run(service, "erase", *WHERE, "--filters", "{", expect=1)
    assert service.hit_ids("cats dogs") == ["two"]
