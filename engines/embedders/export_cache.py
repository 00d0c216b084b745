"""Owns the folder of exported models: each is exported once, by one process, and used by all.

The export runs in a child process, so that the serving process never loads torch.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock

from engines.embedders import exported_model
from engines.embedders.exported_model import ExportedModel, read_export
from engines.embedders.model_folder import identity
from engines.embedders.packed_model import unpack
from errors import ModelUnavailable

UNFIT = 3
"""Exit status of the exporter for a model that OpenVINO cannot run; the reason is its last line of output."""

_LIBRARIES = ("openvino", "torch", "transformers", "sentence-transformers")
UNFINISHED = ".unfinished-"
_ROOT = Path(__file__).resolve().parents[2]


class CannotExport(ModelUnavailable):
    """The model exists, but only torch can run it."""


def exported(folder: Path, cache_dir: Path) -> ExportedModel:
    """The export of the model in *folder*; creates it if *cache_dir* has no intact one.

    Blocks while another process exports. Raises CannotExport, or ModelUnavailable.
    """
    target = cache_dir.expanduser() / f"{_slug(folder)}-{_key(folder)}"
    if export := read_export(target):
        return export
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / "export.lock"):
            return read_export(target) or _export(folder, target)
    except OSError as error:
        raise _not_kept(error) from error


def unpacked(model: Path, cache_dir: Path) -> Path:
    """A folder with the packed model *model* in full precision; unpacks it if *cache_dir* has none."""
    target = cache_dir.expanduser() / f"unpacked-{_key(model)}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / "export.lock"):
            if not target.is_dir():
                with _unfinished_folder(target) as folder:
                    unpack(model, folder)
    except OSError as error:
        raise _not_kept(error) from error
    return target


def _export(folder: Path, target: Path) -> ExportedModel:
    with _unfinished_folder(target) as unfinished:
        _run_exporter(folder, unfinished)
    export = read_export(target)
    if export is None:
        raise ModelUnavailable(
            "The exported model was damaged while it was written: check the disk of MODEL_CACHE_DIR."
        )
    return export


@contextmanager
def _unfinished_folder(target: Path) -> Iterator[Path]:
    """A folder that becomes *target* once it is filled.

    Called under the lock, so unfinished folders belong to no living process.
    """
    for leftover in target.parent.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=target.parent))
    try:
        yield unfinished
        shutil.rmtree(target, ignore_errors=True)
        unfinished.replace(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _not_kept(error: OSError) -> ModelUnavailable:
    return ModelUnavailable(
        f"The exported model cannot be kept: MODEL_CACHE_DIR is not writable or full ({error.strerror})."
    )


def _run_exporter(folder: Path, target: Path) -> None:
    # CI is the only switch that turns off telemetry in OpenVINO's converter.
    environment = {**os.environ, "CI": "true", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.run(  # noqa: S603 - our own module, with paths that we made
        [sys.executable, "-W", "ignore", "-m", "engines.embedders.export_model", folder.resolve(), target.resolve()],
        cwd=_ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode == UNFIT:
        raise CannotExport(f"OpenVINO cannot run this model ({_last_line(process.stdout)}): set EMBED_BACKEND=torch.")
    if process.returncode < 0:
        raise ModelUnavailable(
            f"The model's export was killed by signal {-process.returncode}, most likely for lack of memory:"
            " export it on a larger machine and share MODEL_CACHE_DIR, or set EMBED_BACKEND=remote."
        )
    if process.returncode:
        raise ModelUnavailable(f"The model could not be loaded for export: {_last_line(process.stderr)}")


def _last_line(output: str) -> str:
    """Without paths, because clients see the message."""
    lines = output.strip().splitlines()
    return re.sub(r"(/[\w.@+-]+){2,}", "…", lines[-1])[:300] if lines else "no reason was given"


def _slug(folder: Path) -> str:
    """For operators to read; the key identifies the model. The hub names snapshots by a hash."""
    parts = [part for part in folder.parts if part.startswith("models--")] or [folder.name]
    return re.sub(r"[^A-Za-z0-9.]+", "-", parts[-1].removeprefix("models--"))[:60]


def _key(folder: Path) -> str:
    libraries = [f"{name}={_version(name)}" for name in _LIBRARIES]
    return hashlib.sha256("\n".join([identity(folder), str(exported_model.FORMAT), *libraries]).encode()).hexdigest()[
        :16
    ]


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"
