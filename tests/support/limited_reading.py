"""Reads many files in one process of limited memory, as the service reads each in one of its own.

    python -m tests.support.limited_reading NAME < pickled contents

It prints the number of each before it reads it: what ends the process is known.
"""

from __future__ import annotations

import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from errors import Unreadable
from text.extract import extract
from text.extract.base import Bounds

ROOT = Path(__file__).parents[2]
MEMORY_BYTES = 2 << 30
SECONDS = 20
BOUNDS = Bounds(pages=100, chars=1_000_000, unpacked_bytes=64 << 20)
OUT_OF_MEMORY = "memory allocation of"


def read_all(name: str, contents: Sequence[bytes]) -> None:
    """Fails unless each is read or refused in time. A parser that may not take more memory may end the process."""
    waiting = list(contents)
    while waiting:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.limited_reading", name],
            input=pickle.dumps(waiting),
            capture_output=True,
            cwd=ROOT,
        )
        tried = len(done.stdout.split())
        is_fine = done.returncode == 0 or OUT_OF_MEMORY in done.stderr.decode()
        assert is_fine, f"{name}, number {len(contents) - len(waiting) + tried}: {done.stderr.decode()[-2000:]}"
        waiting = waiting[tried:]


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for content in pickle.load(sys.stdin.buffer):
        sys.stdout.write(".\n")
        sys.stdout.flush()
        begun = time.process_time()
        with suppress(Unreadable, MemoryError):
            extract(content, sys.argv[1], bounds=BOUNDS)
        assert time.process_time() - begun < SECONDS


if __name__ == "__main__":
    main()
