"""Opens the embedder that a configuration names."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engines.embedders.base import Embedder, EmbedderConfig
from engines.embedders.export_cache import CannotExport, exported, unpacked
from engines.embedders.model_folder import Prompts, find_model, read_prompts
from engines.embedders.openvino_embedder import OpenVinoEmbedder
from engines.embedders.remote_embedder import RemoteEmbedder
from engines.embedders.torch_embedder import TorchEmbedder


def open_embedder(config: EmbedderConfig) -> Embedder:
    """Blocks while weights are downloaded and, once per machine, exported. Raises ModelUnavailable.

    *auto* means torch with a GPU, else OpenVINO, else torch for models that OpenVINO cannot run: the same vectors in
    any case.
    """
    if config.backend == "remote":
        return _open_remote(config)
    folder = find_model(config.model_name)
    prompts = _prompts(config, read_prompts(folder))
    if config.backend == "torch" or (config.backend == "auto" and _torch_has_a_gpu()):
        return _open_torch(folder, config, prompts)
    try:
        return _open_openvino(folder, config, prompts)
    except CannotExport:
        if config.backend == "openvino":
            raise
        return _open_torch(folder, config, prompts)


def _open_remote(config: EmbedderConfig) -> RemoteEmbedder:
    prompts = _prompts(config, Prompts())
    return RemoteEmbedder(
        config.base_url,
        model=config.model_name,
        api_key=config.api_key,
        timeout_seconds=config.timeout_seconds,
        query_prompt=prompts.query,
        document_prompt=prompts.document,
    )


def _open_torch(model: Path, config: EmbedderConfig, prompts: Prompts) -> TorchEmbedder:
    folder = unpacked(model, config.cache_dir) if model.is_file() else model
    return TorchEmbedder(
        folder, batch_size=config.batch_size, query_prompt=prompts.query, document_prompt=prompts.document
    )


def _open_openvino(folder: Path, config: EmbedderConfig, prompts: Prompts) -> OpenVinoEmbedder:
    return OpenVinoEmbedder(
        exported(folder, config.cache_dir),
        batch_size=config.batch_size,
        precision=config.precision,
        query_prompt=prompts.query,
        document_prompt=prompts.document,
    )


def _prompts(config: EmbedderConfig, own: Prompts) -> Prompts:
    return Prompts(
        query=own.query if config.query_prompt is None else config.query_prompt,
        document=own.document if config.document_prompt is None else config.document_prompt,
    )


def _torch_has_a_gpu() -> bool:
    """Determined without importing torch. A CPU build of torch is slower than OpenVINO, GPU or not."""
    try:
        is_cpu_build = "+cpu" in version("torch")
    except PackageNotFoundError:
        return False
    has_nvidia = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    return has_nvidia and not is_cpu_build
