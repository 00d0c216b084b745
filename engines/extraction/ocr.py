"""OCR with the program tesseract, if it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess

from errors import Unreadable
from text.extract.base import Ocr


def has_tesseract() -> bool:
    return shutil.which("tesseract") is not None


def tesseract(languages: str) -> Ocr:
    """Raises Unreadable, at the first page that needs it, if the program or a language is missing."""

    def read(picture: bytes) -> str:
        program = shutil.which("tesseract")
        if program is None:
            raise Unreadable("It has scans, and OCR is on, but the program tesseract is not installed on this machine.")
        command = [program, "stdin", "stdout", "-l", languages]
        one_thread = {**os.environ, "OMP_THREAD_LIMIT": "1"}
        process = subprocess.run(command, input=picture, capture_output=True, env=one_thread, check=False)  # noqa: S603
        if process.returncode:
            message = process.stderr.decode("utf-8", "replace").strip().splitlines()[:1]
            raise Unreadable(f"Its scans cannot be read by tesseract: {' '.join(message)[:200]} (OCR_LANGUAGES).")
        return process.stdout.decode("utf-8", "replace")

    return read
