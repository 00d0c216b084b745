"""A bound on what a process takes of the machine's memory: it refuses one request then, instead of being killed."""

from __future__ import annotations

import resource
import sys


def limit_memory(megabytes: int) -> None:
    """Let this process, and each that it starts, have no more memory of its own than that. 0: no limit.

    RLIMIT_DATA counts what is written to and shared with nobody. RLIMIT_AS would count what is merely mapped too: files
    of models and what threads reserve, two to four times what a process with a model really uses.
    """
    if megabytes and sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = megabytes << 20
        resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard < 0 else min(wanted, hard), hard))
