"""The ratios that were kept, a line of JSON per run, and how a new run compares with the last one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from bench.peers.environments import this_environment
from bench.peers.report import commit, machine
from bench.server import ROOT

FILE = ROOT / "bench" / "history.jsonl"
NOISE = 1.3


@dataclass(frozen=True, slots=True)
class KeptRun:
    """*ratios* are costs: what the service takes to what it is compared with, so less is better."""

    date: str
    commit: str
    machine: str
    versions: str
    ratios: Mapping[str, float]

    @classmethod
    def now(cls, ratios: Mapping[str, float]) -> KeptRun:
        versions = this_environment("faiss-cpu", "openvino", "sqlalchemy", "fastapi", "uvicorn")
        rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
        return cls(f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}", commit(), machine(), versions, rounded)

    def keep(self) -> None:
        with open(FILE, "a") as opened:
            opened.write(json.dumps(asdict(self)) + "\n")


def last_kept() -> KeptRun | None:
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    fields: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return KeptRun(**fields) if fields else None


def compare(run: KeptRun, last: KeptRun | None) -> bool:
    """Prints the ratios beside the last ones. Returns whether one is worse by more than what noise explains."""
    before = last.ratios if last else {}
    since = f"{last.date}, {last.commit}, {last.machine}" if last else "nothing was kept yet"
    print(f"\n{'costs as ratios, less is better':44} {'now':>7} {'last':>7} {'to last':>8}   ({since})")
    worse = [name for name, ratio in run.ratios.items() if ratio > NOISE * before.get(name, ratio)]
    for name, ratio in run.ratios.items():
        beside = f"{before[name]:7.2f} {ratio / before[name]:8.2f}" if name in before else f"{'-':>7} {'-':>8}"
        print(f"{name:44} {ratio:7.2f} {beside}{'   WORSE' if name in worse else ''}")
    return bool(worse)
