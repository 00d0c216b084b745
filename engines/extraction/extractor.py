"""Extracts a file in a child process, so that a decompression bomb or a parser crash costs only one document."""

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
    """The limits for one file, each a setting. Without *ocr_languages*, images are not read."""

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
        """The text of the file at *path*. *check* is called every half second, and may take its time: the child works
        on meanwhile. It may raise to stop the work.

        Raises Unreadable, with a message for the sender of the file.
        """
        file = {"path": str(path), "filename": filename, "declared": declared}
        return _to_extracted_text(self._answer({**self._task(), **file}, check))

    def protections(self) -> list[str]:
        """The protections of sandbox.py that work on this machine, determined by a real child. Raises Unreadable."""
        protections: list[str] = self._answer(self._task(), lambda: None)["protections"]
        return protections

    def _answer(self, request: dict[str, Any], check: Callable[[], None]) -> dict[str, Any]:
        with tempfile.TemporaryFile() as task, tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as stderr:
            task.write(json.dumps(request).encode())
            task.seek(0)
            code = self._run(task, answer, stderr, check)
            if code != 0:
                stderr.seek(0)
                log.warning("the process that read a file ended with %s: %s", code, stderr.read(_LOGGED_BYTES).decode())
                raise Unreadable(self._failure_reason(code))
            answer.seek(0)
            result: dict[str, Any] = json.load(answer)
            return result

    def _task(self) -> dict[str, Any]:
        return {
            "parent": os.getpid(),
            "memory_bytes": self.limits.memory_bytes,
            "cpu_seconds": self.limits.cpu_seconds,
            "pages": self.limits.pages,
            "chars": self.limits.chars,
            "ocr_languages": self.limits.ocr_languages,
        }

    def _run(self, task: IO[bytes], answer: IO[bytes], stderr: IO[bytes], check: Callable[[], None]) -> int:
        """The exit code of the child; negative if a signal ended it."""
        with tempfile.TemporaryDirectory() as folder:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engines.extraction.child"],
                stdin=task,
                stdout=answer,
                stderr=stderr,
                cwd=folder,
                env={
                    "PYTHONPATH": str(_ROOT),
                    "PATH": os.environ.get("PATH", os.defpath),
                    "LANG": "C.UTF-8",
                    "TMPDIR": folder,
                },
                start_new_session=True,  # programs that the child starts end with it
            )
            return self._wait(process, check)

    def _wait(self, process: subprocess.Popen[bytes], check: Callable[[], None]) -> int:
        deadline = time.monotonic() + self.limits.wall_seconds
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(_POLL_SECONDS)
                if time.monotonic() >= deadline:
                    raise Unreadable(f"Reading it took longer than {self.limits.wall_seconds:.0f} s (EXTRACT_SECONDS).")
                check()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _failure_reason(self, code: int) -> str:
        if code == -signal.SIGXCPU:
            return f"Reading it takes more than {self.limits.cpu_seconds} s of processor time (EXTRACT_CPU_SECONDS)."
        megabytes = self.limits.memory_bytes >> 20
        return f"Its parser died: it is damaged, or takes more than {megabytes} MB of memory (EXTRACT_MEMORY_MB)."


def _to_extracted_text(answer: dict[str, Any]) -> ExtractedText:
    if "refused" in answer:
        raise Unreadable(answer["refused"])
    return ExtractedText(**{**answer, "warnings": tuple(Caveat(**each) for each in answer["warnings"])})
