"""The contest's table: a line per figure, a column per peer, and ours beside the floor and the best peer."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.peers.contest import Contestant, Measured
from bench.server import ROOT, percentile

LEAST = 0.05

_MODEL_NAME = "model name"


@dataclass(frozen=True, slots=True)
class ReportLine:
    label: str
    value: Callable[[Measured], float]
    less_is_better: bool = True
    form: str = ".2f"


LINES = (
    ReportLine("search p50, 1 client, ms", lambda measured: percentile(measured.searches[1], 50)),
    ReportLine("search p95, 1 client, ms", lambda measured: percentile(measured.searches[1], 95)),
    ReportLine("searches/s, 1 client", lambda measured: measured.rates[1][0], False, ".0f"),
    ReportLine("searches/s, 4 clients", lambda measured: median(measured.rates[4]), False, ".0f"),
    ReportLine("search p95, 4 clients, ms", lambda measured: percentile(measured.searches[4], 95)),
    ReportLine("searches/s, 16 clients", lambda measured: median(measured.rates[16]), False, ".0f"),
    ReportLine("search p95, 16 clients, ms", lambda measured: percentile(measured.searches[16], 95)),
    ReportLine("processor ms a search, 16 clients", lambda measured: median(measured.cpu[16])),
    ReportLine("recall@5", lambda measured: measured.recall, False, ".4f"),
    ReportLine("one-chunk upsert p50, small, ms", lambda measured: median(measured.upsert_small)),
    ReportLine("one-chunk upsert p50, large, ms", lambda measured: median(measured.upsert_large)),
    ReportLine("large to small", lambda measured: median(measured.upsert_large) / median(measured.upsert_small)),
    ReportLine("one-chunk documents/s", lambda measured: measured.single_docs_a_second, False, ".0f"),
    ReportLine("chunks/s, 100 a document", lambda measured: measured.chunks_a_second, False, ".0f"),
    ReportLine("settled after, s", lambda measured: measured.settle_seconds, True, ".1f"),
    ReportLine("delete to invisible p50, ms", lambda measured: median(measured.delete)),
    ReportLine("restart to first search, s", lambda measured: measured.restart_seconds),
    ReportLine("memory idle, MB", lambda measured: measured.idle_mb, True, ".0f"),
    ReportLine("memory, MB", lambda measured: measured.memory_mb, True, ".0f"),
    ReportLine("disk, bytes a chunk", lambda measured: measured.disk_per_chunk, True, ".0f"),
)


def table(contestants: Sequence[Contestant], *, ours: str, floor: str, over_http: Collection[str]) -> str:
    """In Markdown. A ratio is ours to the other; above 1 is bad where less is better."""
    names = [each.name for each in contestants]
    rows = [["", *names, "to floor", "to best over HTTP"], ["---"] * (len(names) + 3)]
    rows += [_row(line, {each.name: each.measured for each in contestants}, ours, floor, over_http) for line in LINES]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(
    line: ReportLine, measured: dict[str, Measured], ours: str, floor: str, over_http: Collection[str]
) -> list[str]:
    values = {name: line.value(each) for name, each in measured.items()}
    peers = [value for name, value in values.items() if name in over_http]
    best = (min if line.less_is_better else max)(peers, default=None)
    ratios = [_ratio(values.get(ours), values.get(floor)), _ratio(values.get(ours), best)]
    return [line.label, *(f"{value:,{line.form}}" for value in values.values()), *ratios]


def _ratio(value: float | None, other: float | None) -> str:
    return f"{value / other:.2f}" if value and other and other > LEAST else ""


def circumstances() -> str:
    """The machine, its load, the time and the commit."""
    return f"{machine()}; Python {platform.python_version()}; {datetime.now(UTC):%Y-%m-%d %H:%M}; commit {commit()}"


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(": ")[2] for line in lines if line.startswith(_MODEL_NAME)), platform.machine())
    return f"{os.cpu_count()} x {processor}, load {os.getloadavg()[0]:.1f}"


def commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"
