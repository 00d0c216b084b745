"""What processes cost: their memory, shared pages counted once, and the disk below a folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import psutil

_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


def memory_mb(pids: Iterable[int]) -> float:
    """The proportional set size of the processes and of all that they started."""
    roots = [psutil.Process(pid) for pid in pids]
    family = {each.pid: each for root in roots for each in (root, *root.children(recursive=True))}
    return sum(each.memory_full_info().pss for each in family.values()) / (1 << 20)


def peak_mb(pid: int) -> float:
    """The largest resident set that the process has had."""
    match = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
