"""Temporary folders with what tenants sent, which go even if their process is killed: a lock ends with its owner."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "adf-scratch-"
YOUNG_SECONDS = 2.0
"""A folder that is younger may not be locked yet."""


class Scratch:
    """A new folder at *path*, until close()."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def sweep_scratch(*, young_seconds: float = YOUNG_SECONDS) -> int:
    """Remove the folders of processes that were killed. Returns how many there were."""
    count = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            is_young = time.time() - folder.stat().st_mtime < young_seconds
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError:  # gone meanwhile, or another user's
            continue
        try:
            if not is_young:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                count += 1
        except BlockingIOError:
            pass  # its process lives
        finally:
            os.close(descriptor)
    return count
