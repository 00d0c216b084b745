"""The sandbox of the extraction process: rights that it drops for good before it parses untrusted content.

Landlock (Linux 5.13, landlock(7)) closes the file system except the Python installation and a temporary folder, and
with it /proc and the memory of other processes. A filter of system calls (seccomp(2)) refuses sockets and ways around
them. Neither needs privileges, and child processes inherit both. Each works if the kernel lacks the other.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable, Mapping
from errno import EACCES
from pathlib import Path

FILES, NETWORK = "files", "network"
ADVICE = {
    FILES: "files: OPEN, a parser that is taken over reads what this user may read. Use Linux 5.13 or newer with "
    "landlock among its security modules (lsm=), and a container runtime that lets its system calls through",
    NETWORK: "network: OPEN, a parser that is taken over reaches what this machine reaches. Run the worker on Linux "
    "on x86-64 or ARM, or without a network but for its database",
}
"""Advice for a protection that does not work."""

_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2  # of prctl(2)
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on every architecture
_RULES_OF_ABI = {1: 1 << 13, 2: 1 << 14, 3: 1 << 15, 5: 1 << 16}  # the kinds of file access that each version knows
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TCP = 0b11  # bind and connect, from version 4 on
_SCOPES = 0b11  # abstract sockets and signals to others, from version 6 on

# socket, connect, ptrace, process_vm_readv and _writev, pidfd_getfd, io_uring_setup, and bpf
_REFUSED: Mapping[str, tuple[int, tuple[int, ...]]] = {
    "x86_64": (0xC000003E, (41, 42, 101, 310, 311, 438, 425, 321)),
    "aarch64": (0xC00000B7, (198, 203, 117, 270, 271, 438, 425, 280)),
}
_X32 = 0x40000000  # an alternative numbering of the same calls on x86_64
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | EACCES
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06


def confine(writable: Iterable[Path] = ()) -> list[str]:
    """Drop all rights that parsing does not need; returns the protections now in force: FILES, NETWORK."""
    if sys.platform != "linux":
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return []
    protections = [FILES] if _close_files(libc, list(_installation()), list(writable)) else []
    return [*protections, NETWORK] if _close_network(libc) else protections


def _installation() -> Iterable[Path]:
    """Folders of Python and its libraries, of this program's own code, and those that every program needs."""
    root = Path(__file__).resolve().parents[2]
    yield from (root / name for name in ("engines", "text", "errors.py", "domain.py"))
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix}:
        yield from (Path(prefix, name) for name in ("bin", "lib", "lib64", "pyvenv.cfg"))
    yield from (Path(entry) for entry in sys.path if entry and Path(entry).resolve() != root)
    yield from map(Path, ("/usr", "/bin", "/lib", "/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/fonts"))
    yield from map(Path, ("/etc/localtime", "/etc/mime.types", "/etc/ssl/openssl.cnf", "/dev/urandom", "/dev/zero"))


def _close_files(libc: ctypes.CDLL, readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    abi = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        return False
    all_access = max(end for version, end in _RULES_OF_ABI.items() if version <= abi) - 1
    attributes = struct.pack("<QQQ", all_access, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    reading = _EXECUTE | _READ_FILE | _READ_DIR
    rules = [(path, reading) for path in readable] + [(path, all_access) for path in writable]
    for path, access in [*rules, (Path("/dev/null"), _READ_FILE | _WRITE_FILE)]:
        _allow(libc, ruleset, path, access)
    is_closed: bool = libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return is_closed


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, access: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # it does not exist
    if not path.is_dir():
        access &= _EXECUTE | _WRITE_FILE | _READ_FILE
    libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("<Qi", access, handle), 0)
    os.close(handle)


def _close_network(libc: ctypes.CDLL) -> bool:
    """Refused calls fail with EACCES; so do calls of another architecture, whose numbers differ."""
    if platform.machine() not in _REFUSED:
        return False
    architecture, numbers = _REFUSED[platform.machine()]
    refused = [(_IF_AT_LEAST, _X32), *((_IF_EQUAL, number) for number in numbers)]
    count = len(refused)
    program = [(_LOAD, 0, 0, 4), (_IF_EQUAL, 0, count + 2, architecture), (_LOAD, 0, 0, 0)]
    program += [(code, count - index, 0, value) for index, (code, value) in enumerate(refused)]
    program += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *each) for each in program))
    header = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(code))
    result: int = libc.prctl(_SET_SECCOMP, _FILTER, header, 0, 0)
    return result == 0
