"""The process that extracts one file: it limits itself first, then runs parsers on untrusted content.

    python -P -m engines.extraction.child < task.json > answer.json

It reads the file before it enters the sandbox (sandbox.py), has no secrets in its environment, and dies with its
parent. It can write only to its current folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engines.extraction.sandbox import confine

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_BYTES_PER_CHAR = 6  # at the most, in JSON: \\u0001
_SPARE_BYTES = 1 << 20
_GRACE_SECONDS = 5


def main() -> None:
    task = json.load(sys.stdin)
    _limit(task)
    try:
        content = Path(task["path"]).read_bytes() if "path" in task else b""
        protections = confine([Path.cwd()])
        answer = _extract(task, content) if "path" in task else {"protections": protections}
    except MemoryError:
        megabytes = task["memory_bytes"] >> 20
        answer = {"refused": f"Reading it takes more than {megabytes} MB of memory (EXTRACT_MEMORY_MB)."}
    sys.stdout.write(json.dumps(answer, ensure_ascii=True))


def _limit(task: dict[str, Any]) -> None:
    """Applied before any parser is imported. The hard limit on processor time kills a process past the soft one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")  # the kernel should kill this process before any other
    if os.getppid() != task["parent"]:
        sys.exit("the parent is gone")
    max_output = _BYTES_PER_CHAR * task["chars"] + _SPARE_BYTES
    for limit, soft, hard in (
        (resource.RLIMIT_AS, task["memory_bytes"], task["memory_bytes"]),
        (resource.RLIMIT_CPU, task["cpu_seconds"], task["cpu_seconds"] + _GRACE_SECONDS),
        (resource.RLIMIT_FSIZE, max_output, max_output),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(limit, (soft, hard))


def _extract(task: dict[str, Any], content: bytes) -> dict[str, Any]:
    from engines.extraction.ocr import tesseract
    from engines.extraction.pandoc import pandoc
    from errors import Unreadable
    from text.extract import extract
    from text.extract.base import Bounds

    bounds = Bounds(pages=task["pages"], chars=task["chars"], unpacked_bytes=task["memory_bytes"])
    ocr = tesseract(task["ocr_languages"]) if task["ocr_languages"] else None
    try:
        extracted = extract(
            content, task["filename"], bounds=bounds, declared=task["declared"], ocr=ocr, convert=pandoc()
        )
    except Unreadable as error:
        return {"refused": str(error)}
    return {
        "text": extracted.text,
        "mime_type": extracted.mime_type,
        "strategy": extracted.strategy,
        "title": extracted.title,
        "warnings": [asdict(each) for each in extracted.warnings],
    }


if __name__ == "__main__":
    main()
