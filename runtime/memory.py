"""How much memory this process may take, and how it gives back what it no longer uses."""

from __future__ import annotations

import ctypes
import resource
import sys


def limit_memory(megabytes: int) -> None:
    """Limit the private memory of this process and of each that it starts: beyond it, one request fails. 0: no limit.

    RLIMIT_DATA counts private, writable memory. RLIMIT_AS would count all mappings, model files and the threads'
    reservations included: two to four times what a process with a model really uses.
    """
    if megabytes and sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = megabytes << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def allow_open_files() -> None:
    """Let this process open as many files as it may: each connection is one, and each index of halves in memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def give_back_memory() -> None:
    """Return freed memory to the system. glibc keeps most of what a rebuild took; other libraries have no such call."""
    if _trim is not None:
        _trim(0)


_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
