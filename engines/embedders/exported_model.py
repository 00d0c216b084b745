"""A model exported for OpenVINO: a folder with the graph, its tokenizer and a manifest with checksums of both."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

FORMAT = 1
"""Increase it when the exporter's output changes: older exports are then recreated."""

GRAPH = "model.xml"
TOKENIZER = "tokenizer.json"
PROBE_TEXT = "The quick brown fox jumps over the lazy dog."

_MANIFEST = "manifest.json"

# Hashing 256 MiB takes 0.15 s. For larger files only the size is compared, and the probe after compiling.
_HASHED_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """*max_length* includes special tokens. *probe* is the vector of PROBE_TEXT in full precision."""

    dimension: int
    max_length: int
    pad_id: int
    probe: list[float]


@dataclass(frozen=True, slots=True)
class ExportedModel:
    folder: Path
    manifest: Manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Call it last: a folder without a manifest is incomplete."""
    files = {path.name: _fingerprint(path) for path in sorted(folder.iterdir()) if path.name != _MANIFEST}
    (folder / _MANIFEST).write_text(json.dumps({"model": asdict(manifest), "files": files}))


def read_export(folder: Path) -> ExportedModel | None:
    """None if *folder* is missing, incomplete or damaged."""
    try:
        record = json.loads((folder / _MANIFEST).read_bytes())
        if not all(_fingerprint(folder / name) == expected for name, expected in record["files"].items()):
            return None
        return ExportedModel(folder, Manifest(**record["model"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _fingerprint(path: Path) -> dict[str, int | str]:
    size = path.stat().st_size
    if size > _HASHED_BYTES:
        return {"size": size}
    with path.open("rb") as file:
        return {"size": size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
