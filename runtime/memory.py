"""A memory limit for this process: beyond it one request fails, instead of the process being killed."""

from __future__ import annotations

import resource
import sys


def limit_memory(megabytes: int) -> None:
    """Limit the private memory of this process and of each that it starts. 0: no limit.

    RLIMIT_DATA counts private, writable memory. RLIMIT_AS would count all mappings, model files and the threads'
    reservations included: two to four times what a process with a model really uses.
    """
    if megabytes and sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = megabytes << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))
