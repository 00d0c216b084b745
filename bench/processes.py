"""What processes cost: their memory, shared pages counted once, and the disk below a folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import psutil

_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


def memory_mb(pids: Iterable[int]) -> float:
    """The proportional set size of the processes and of all that they started."""
    return sum(each.memory_full_info().pss for each in _family(pids)) / (1 << 20)


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time of the processes and of all that they started, also of those that have ended."""
    return sum(sum(each.cpu_times()[:4]) for each in _family(pids))


def _family(pids: Iterable[int]) -> list[psutil.Process]:
    roots = [psutil.Process(pid) for pid in pids]
    return list({each.pid: each for root in roots for each in (root, *root.children(recursive=True))}.values())


def peak_mb(pid: int) -> float:
    """The largest resident set that the process has had."""
    match = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
