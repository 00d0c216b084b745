"""Releases the pages of a mapped file that this process has read and will hardly read again."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

_MADV_DONTNEED = 4
_MAPS = Path("/proc/self/maps")


def release_pages(file: Path) -> None:
    """Take the file's pages out of this process's memory; one that is needed again is mapped again.

    Compiling a graph, and its first run, read all of the weights and keep converted copies, so the originals would
    double what the process holds. Only mappings that nobody can write to are released: changes would be lost.
    """
    if not _MAPS.exists():
        return
    libc = ctypes.CDLL(None)
    for start, end in _read_only_mappings(os.path.realpath(file)):
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def _read_only_mappings(path: str) -> Iterator[tuple[int, int]]:
    """Lines of /proc/self/maps: addresses, permissions, offset, device, inode and path."""
    for line in _MAPS.read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5] == path and "w" not in fields[1]:
            start, end = (int(each, 16) for each in fields[0].split("-"))
            yield start, end
