"""Reads a file in a child process, so that a bomb or a crash of a parser costs one document and not the worker."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from errors import Unreadable
from text.extract.base import Caveat, ExtractedText

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[2]
_POLL_SECONDS = 0.5
_LOGGED_BYTES = 2000


@dataclass(frozen=True, slots=True)
class ExtractionLimits:
    """What one file may cost, each a setting. No *ocr_languages*: pictures are not read."""

    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float
    pages: int
    chars: int
    ocr_languages: str = ""


@dataclass(frozen=True)
class Extractor:
    limits: ExtractionLimits

    def extract(
        self, path: Path, filename: str, *, declared: str = "", check: Callable[[], None] = lambda: None
    ) -> ExtractedText:
        """The text of the file at *path*. *check* is called every half a second and may raise to end the work.

        Raises Unreadable, in words for whoever sent the file.
        """
        sent = {"path": str(path), "filename": filename, "declared": declared}
        return _found(self._answer({**self._task(), **sent}, check))

    def protections(self) -> list[str]:
        """Which of sandbox.py's hold on this machine, as a child of the real kind finds out. Raises Unreadable."""
        held: list[str] = self._answer(self._task(), lambda: None)["held"]
        return held

    def _answer(self, told: dict[str, Any], check: Callable[[], None]) -> dict[str, Any]:
        with tempfile.TemporaryFile() as task, tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said:
            task.write(json.dumps(told).encode())
            task.seek(0)
            code = self._run(task, answer, said, check)
            if code != 0:
                said.seek(0)
                log.warning("the process that read a file ended with %s: %s", code, said.read(_LOGGED_BYTES).decode())
                raise Unreadable(self._why(code))
            answer.seek(0)
            said_back: dict[str, Any] = json.load(answer)
            return said_back

    def _task(self) -> dict[str, Any]:
        return {
            "parent": os.getpid(),
            "memory_bytes": self.limits.memory_bytes,
            "cpu_seconds": self.limits.cpu_seconds,
            "pages": self.limits.pages,
            "chars": self.limits.chars,
            "ocr_languages": self.limits.ocr_languages,
        }

    def _run(self, task: IO[bytes], answer: IO[bytes], said: IO[bytes], check: Callable[[], None]) -> int:
        """The exit code of the child; negative: the signal that ended it."""
        with tempfile.TemporaryDirectory() as folder:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engines.extraction.child"],
                stdin=task,
                stdout=answer,
                stderr=said,
                cwd=folder,
                env={
                    "PYTHONPATH": str(_ROOT),
                    "PATH": os.environ.get("PATH", os.defpath),
                    "LANG": "C.UTF-8",
                    "TMPDIR": folder,
                },
                start_new_session=True,  # a program that the child runs ends with it
            )
            return self._wait(process, check)

    def _wait(self, process: subprocess.Popen[bytes], check: Callable[[], None]) -> int:
        end = time.monotonic() + self.limits.wall_seconds
        try:
            while time.monotonic() < end:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(_POLL_SECONDS)
                check()
            raise Unreadable(f"Reading it took longer than {self.limits.wall_seconds:.0f} s (EXTRACT_SECONDS).")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _why(self, code: int) -> str:
        if code == -signal.SIGXCPU:
            return f"Reading it takes more than {self.limits.cpu_seconds} s of processor time (EXTRACT_CPU_SECONDS)."
        megabytes = self.limits.memory_bytes >> 20
        return f"Its parser died: it is damaged, or takes more than {megabytes} MB of memory (EXTRACT_MEMORY_MB)."


def _found(answer: dict[str, Any]) -> ExtractedText:
    if "refused" in answer:
        raise Unreadable(answer["refused"])
    return ExtractedText(**{**answer, "warnings": tuple(Caveat(**each) for each in answer["warnings"])})
