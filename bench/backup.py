"""Backup and restore against a plain copy: ``python -m bench.backup [--chunks 20000] [--files 200] [--turns 3]``.

The plain copy is cp -r of the database and the raw files, on SQLite with nobody writing, on Postgres of the parts that
the backup wrote; then sync, as a backup is synced too. A restore includes verify and a search. Vectors and raw files
are synthetic (bench/corpus.py).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from sqlalchemy import update

from bench.corpus import fill, settings_in
from bench.server import stop_on_sigterm
from engines.blobs.base import new_name
from models import Revision
from runtime.backups import open_target, scratch_of
from runtime.opening import open_runtime
from runtime.parts import Runtime
from runtime.restoring import restore
from services.operations.backing_up import BackupService
from settings import Settings
from tests.support.postgres import PostgresServer, running_server

NAMESPACE = "kept"
FILE_BYTES = 512 << 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=200, help="raw files of 512 KB")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="bench-") as name, running_server(is_durable=True) as server:
        stop_on_sigterm()
        folder, settings = Path(name), settings_in(Path(name))
        settings = settings.model_copy(update={"blob_store_url": f"file://{folder}/raw_files"})
        with open_runtime(settings) as runtime:
            _furnish(runtime, options.chunks, options.files)
            _measure(folder, runtime, options.turns, lambda turn: f"sqlite:///{folder}/new-{turn}.db")
        with (
            _databases(server, options.turns) as urls,
            open_runtime(settings.model_copy(update={"database_url": urls[0]})) as runtime,
        ):
            _furnish(runtime, options.chunks, options.files)
            _measure(folder, runtime, options.turns, lambda turn: urls[1 + turn])


def _measure(folder: Path, runtime: Runtime, turns: int, new_url: Callable[[int], str]) -> None:
    times: dict[str, list[float]] = {}
    for turn in range(turns):
        target = folder / f"backups-{turn}"
        _time(times, "backup", partial(_back_up, runtime, target))
        _time(times, "second backup", partial(_back_up, runtime, target))
        parts = [runtime.database.file, folder / "raw_files"] if runtime.database.file else [target]
        copy = folder / f"copy-{turn}"
        copied = _time(times, "plain copy", partial(_copy, parts, copy))
        _time(times, "restore", partial(_restore, runtime.settings, target, new_url(turn), turn))
        for each in (target, copy, folder / f"raw-{turn}"):
            shutil.rmtree(each)
    print(f"{runtime.database.kind}, plain copy of {copied / 2**20:.0f} MB", flush=True)
    for name, seconds in times.items():
        print(f"{name:14} {median(seconds):6.2f} s  {copied / 2**20 / median(seconds):6.0f} MB/s")


def _time(times: dict[str, list[float]], name: str, do: Callable[[], int]) -> int:
    os.sync()
    started = time.perf_counter()
    size = do()
    times.setdefault(name, []).append(time.perf_counter() - started)
    return size


def _back_up(runtime: Runtime, target: Path) -> int:
    store = open_target(runtime.settings, str(target))
    service = BackupService(runtime.database, runtime.ingest.blobs, runtime.index.vectors.folder)
    return service.back_up(store, scratch=scratch_of(store, runtime.database)).size


def _copy(parts: list[Path], copy: Path) -> int:
    copy.mkdir()
    for part in parts:
        subprocess.run(["cp", "-r", str(part), str(copy)], check=True)
    os.sync()
    return sum(path.stat().st_size for path in copy.rglob("*") if path.is_file())


def _restore(settings: Settings, target: Path, url: str, turn: int) -> int:
    raw_files = f"file://{target.parent}/raw-{turn}"
    return restore(settings, source=str(target), target=url, raw_files=raw_files, report=lambda *_: None).manifest.size


def _furnish(runtime: Runtime, chunks: int, files: int) -> None:
    fill(runtime, NAMESPACE, chunks=chunks)
    with runtime.database.write() as session:
        for number in range(files):
            name = new_name()
            with runtime.ingest.blobs.open_writer(name) as writer:
                writer.write(os.urandom(FILE_BYTES))
            is_one = Revision.doc_id == f"0-{number}"
            session.execute(update(Revision).where(is_one).values(blob_uri=name))


@contextmanager
def _databases(server: PostgresServer, turns: int) -> Iterator[list[str]]:
    with ExitStack() as stack:
        yield [stack.enter_context(server.database()) for _ in range(1 + turns)]


if __name__ == "__main__":
    main()
