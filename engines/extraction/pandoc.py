"""Converts files of other word processors to HTML with the program pandoc, if it is installed."""

from __future__ import annotations

import shutil
import subprocess

from errors import Unreadable
from text.extract.base import Convert


def pandoc() -> Convert | None:
    """None if it is not installed. It inherits the limits of its parent process and reads no other file."""
    program = shutil.which("pandoc")
    if program is None:
        return None

    def convert(content: bytes, suffix: str) -> bytes:
        command = [program, "--sandbox", "--from", suffix, "--to", "html"]
        process = subprocess.run(command, input=content, capture_output=True, check=False)  # noqa: S603
        if process.returncode:
            message = process.stderr.decode("utf-8", "replace").strip().splitlines()[:1]
            raise Unreadable(f"It is damaged, or pandoc cannot read it: {' '.join(message)[:200]}")
        return process.stdout

    return convert
