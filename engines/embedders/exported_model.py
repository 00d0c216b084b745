"""A model as OpenVINO runs it: a folder with the graph, its tokenizer and a manifest that vouches for both."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

FORMAT = 1
"""Raise it when the exporter writes something else: older exports are then made again."""

GRAPH = "model.xml"
TOKENIZER = "tokenizer.json"
PROBE_TEXT = "The quick brown fox jumps over the lazy dog."

_MANIFEST = "manifest.json"

# 256 MiB take 0.15 s to hash. Of larger files the size counts, and the probe is compared after compiling.
_HASHED_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """*max_length* counts the special tokens too. *probe* is the vector of PROBE_TEXT in full precision."""

    dimension: int
    max_length: int
    pad_id: int
    probe: list[float]


@dataclass(frozen=True, slots=True)
class ExportedModel:
    folder: Path
    manifest: Manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Call it last: a folder without one is half written."""
    files = {path.name: _vouch(path) for path in sorted(folder.iterdir()) if path.name != _MANIFEST}
    (folder / _MANIFEST).write_text(json.dumps({"model": asdict(manifest), "files": files}))


def read_export(folder: Path) -> ExportedModel | None:
    """None where *folder* is missing, half written or damaged."""
    try:
        record = json.loads((folder / _MANIFEST).read_bytes())
        if not all(_vouch(folder / name) == expected for name, expected in record["files"].items()):
            return None
        return ExportedModel(folder, Manifest(**record["model"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _vouch(path: Path) -> dict[str, int | str]:
    size = path.stat().st_size
    if size > _HASHED_BYTES:
        return {"size": size}
    with path.open("rb") as file:
        return {"size": size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
