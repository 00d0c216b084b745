"""Reads the documents that this machine's packages ship: ``python -m bench.files [--count 600] [--before FOLDER]``.

Does any reader crash? Is any file read without most of its words? What is read is compared with what pdftotext and
html2text find, where they are installed, and with the file itself if it is text. With --before, a checkout of another
version reads the same files in turns, and processor times are compared.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "/usr/share",
    "/usr/lib/python3",
    "/usr/local/lib",
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
)
KINDS = {
    "PDF": (".pdf",),
    "HTML": (".html", ".htm", ".xhtml"),
    "EPUB": (".epub",),
    "Markdown": (".md",),
    "reStructuredText": (".rst",),
    "text": (".txt",),
}
REFERENCES = {"PDF": ("pdftotext", "-q", "{}", "-"), "HTML": ("html2text", "-utf8", "{}")}
PLAIN = ("text/plain", "text/markdown", "text/x-rst")
"""What is read as it is: a .txt file may also be a mail or a page."""

LEAST_SHARE = 0.2
FEWEST_WORDS = 20
BATCH = 40
MAX_BYTES = 4 << 20

_WORD = re.compile(r"[^\W\d_]{3,}")
_READER = """
import json, sys, time
from pathlib import Path
from errors import Unreadable
from text.extract import extract
from text.extract.base import Bounds

bounds = Bounds(pages=2000, chars=20_000_000, unpacked_bytes=1 << 30)
paths = json.load(sys.stdin)
try:
    extract(Path(paths[0]).read_bytes(), Path(paths[0]).name, bounds=bounds)  # imports are not timed
except Unreadable:
    pass
for path in paths:
    content, text, problem, mime_type = Path(path).read_bytes(), "", "", ""
    begun = time.process_time()
    try:
        extracted = extract(content, Path(path).name, bounds=bounds)
        text, mime_type = extracted.text, extracted.mime_type
    except Unreadable as error:
        problem = str(error)
    seconds = time.process_time() - begun
    print(json.dumps({"text": text, "refused": problem, "mime_type": mime_type, "seconds": seconds}), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """*refused* is the reader's reason, "" if it read the file."""

    text: str
    refused: str
    mime_type: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """*share* of the reference's words that were read; None if they are not compared. *before_seconds* likewise."""

    path: Path
    reading: Reading
    share: float | None
    before_seconds: float | None


def main() -> None:
    options = _options()
    for command in sorted(each[0] for each in REFERENCES.values() if shutil.which(each[0]) is None):
        print(f"{command} is not installed: the files that it reads are not compared with it")
    crashed = 0
    everything: list[Result] = []
    for kind, suffixes in KINDS.items():
        paths = _sample(suffixes, options.count)
        batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
        results = [result for batch in batches for result in _read(kind, batch, options.before)]
        crashed += len(paths) - len(results)
        everything += results
        _report(kind, len(paths), results)
    print(f"all: {len(everything)} files, {crashed} crashed{_speed(everything)}")
    sys.exit(1 if crashed else 0)


def _sample(suffixes: Sequence[str], count: int) -> list[Path]:
    """Returns up to *count* files, spread over all that exist; of equal sizes and names one."""
    paths_by_name: dict[tuple[str, int], Path] = {}
    for folder in FOLDERS:
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix.lower() in suffixes and path.is_file() and 0 < (size := path.stat().st_size) <= MAX_BYTES:
                paths_by_name.setdefault((path.name, size), path)
    paths = list(paths_by_name.values())
    return [paths[number * len(paths) // count] for number in range(count)] if len(paths) > count else paths


def _read(kind: str, paths: Sequence[Path], before: Path | None) -> Iterator[Result]:
    """Reads a batch with both versions, one after the other."""
    now = list(_readings(ROOT, paths))
    old = list(_readings(before, paths)) if before is not None else []
    before_seconds = {path: reading.seconds for path, reading in old if not reading.refused}
    for path, reading in now:
        seconds = None if reading.refused else before_seconds.get(path)
        yield Result(path, reading, _share(kind, path, reading), seconds)


def _readings(checkout: Path, paths: Sequence[Path]) -> Iterator[tuple[Path, Reading]]:
    """Reads in another process. A file that ends it is named and left out."""
    waiting = list(paths)
    while waiting:
        task = json.dumps([str(path) for path in waiting])
        done = subprocess.run([sys.executable, "-c", _READER], input=task, capture_output=True, text=True, cwd=checkout)
        lines = done.stdout.splitlines()
        yield from ((path, Reading(**json.loads(line))) for path, line in zip(waiting, lines, strict=False))
        if done.returncode == 0:
            return
        print(f"CRASH {checkout.name} {waiting[len(lines)]}: {done.stderr.strip()[-300:]}")
        waiting = waiting[len(lines) + 1 :]


def _share(kind: str, path: Path, reading: Reading) -> float | None:
    """Compares distinct words of three letters or more; None without a reference of enough of them."""
    reference = _reference(kind, path) if kind in REFERENCES or reading.mime_type in PLAIN else None
    expected = set(_WORD.findall(reference.casefold())) if reference is not None else set()
    if len(expected) < FEWEST_WORDS:
        return None
    return len(expected & set(_WORD.findall(reading.text.casefold()))) / len(expected)


def _reference(kind: str, path: Path) -> str | None:
    command = REFERENCES.get(kind)
    if command is None:
        return path.read_text(encoding="utf-8", errors="replace")
    if shutil.which(command[0]) is None:
        return None
    arguments = [each.format(path) for each in command]
    return subprocess.run(arguments, capture_output=True, text=True, errors="replace", timeout=120).stdout


def _report(kind: str, count: int, results: Sequence[Result]) -> None:
    refused = [result for result in results if result.reading.refused]
    compared = {result.path: result.share for result in results if result.share is not None and result not in refused}
    print(f"{kind}: {count} files, {count - len(results)} crashed, {len(refused)} refused{_speed(results)}")
    if compared:
        median, least = statistics.median(compared.values()), min(compared.values())
        print(f"  {len(compared)} compared: share of words, median {median:.3f}, least {least:.3f}")
    for path, share in compared.items():
        if share < LEAST_SHARE:
            print(f"  LOST {share:.3f} {path}")
    for result in refused:
        has_words = "" if result.share is None else ", THOUGH IT HAS WORDS"
        print(f"  refused {result.path}{has_words}: {result.reading.refused[:80]}")


def _speed(results: Sequence[Result]) -> str:
    times = [(each.before_seconds, each.reading.seconds) for each in results if each.before_seconds is not None]
    if not times:
        return ""
    before, now = (sum(column) for column in zip(*times, strict=True))
    return f"; {now:.2f} s of processor time, {before:.2f} s before: speed {before / now:.2f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=600, help="most files of each kind")
    parser.add_argument("--before", type=Path, help="a checkout of another version")
    return parser.parse_args()


if __name__ == "__main__":
    main()
