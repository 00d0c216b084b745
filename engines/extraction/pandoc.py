"""Turning files of other word processors into HTML with the program pandoc, where it is installed."""

from __future__ import annotations

import shutil
import subprocess

from errors import Unreadable
from text.extract.base import Convert


def pandoc() -> Convert | None:
    """None where it is not installed. It runs within the limits of the process that starts it, and reads no file."""
    program = shutil.which("pandoc")
    if program is None:
        return None

    def convert(content: bytes, suffix: str) -> bytes:
        command = [program, "--sandbox", "--from", suffix, "--to", "html"]
        done = subprocess.run(command, input=content, capture_output=True, check=False)  # noqa: S603
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()[:1]
            raise Unreadable(f"It is damaged, or pandoc cannot read it: {' '.join(said)[:200]}")
        return done.stdout

    return convert
