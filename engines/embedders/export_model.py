"""Exports one model as an OpenVINO graph. Run by export_cache as a child process.

``python -m engines.embedders.export_model MODEL TARGET_FOLDER``

Traces SentenceTransformers itself, from token ids to unit vectors, so that all pooling and Dense modules of the model
are in the graph. The graph's vectors are compared with the library's before the manifest is written.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # nothing is reported to anyone

import numpy as np
import openvino as ov
import torch
from sentence_transformers import SentenceTransformer

from engines.embedders.export_cache import UNFINISHED, UNFIT
from engines.embedders.exported_model import GRAPH, PROBE_TEXT, TOKENIZER, ExportedModel, Manifest, write_manifest
from engines.embedders.openvino_embedder import OpenVinoEmbedder
from engines.embedders.packed_model import unpack

_TRACEABLE = {"Pooling", "Dense", "Normalize", "LayerNorm", "Dropout"}
_LONGEST = 32_768
_MIN_COSINE = 0.99999
_CHECKED_TEXTS = [PROBE_TEXT, "", "a", "Größe, 中文, עברית 🙂 " * 9, f"{PROBE_TEXT} " * 400, "  spaces  around  "]


class Unfit(Exception):
    """OpenVINO cannot reproduce this model's vectors."""


class _TokensToUnitVectors(torch.nn.Module):
    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model
        self.has_token_types = "token_type_ids" in model.tokenizer.model_input_names

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.has_token_types:
            features["token_type_ids"] = torch.zeros_like(input_ids)
        for module in self.model:
            features = module(features)
        return torch.nn.functional.normalize(features["sentence_embedding"], dim=-1)


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        if source.is_dir():
            export(source, target)
        else:
            with TemporaryDirectory(prefix=UNFINISHED, dir=target.parent) as folder:
                unpack(source, Path(folder))
                export(Path(folder), target)
    except Unfit as reason:
        sys.stdout.write(f"{reason}\n")
        sys.exit(UNFIT)


def export(source: Path, target: Path) -> None:
    """Fill *target*. Raises Unfit, or any error of the libraries for a model that they cannot load."""
    model = SentenceTransformer(
        str(source), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    ).eval()
    _require_traceable(model)
    ov.save_model(_traced(model), target / GRAPH, compress_to_fp16=False)
    model.tokenizer.backend_tokenizer.save(str(target / TOKENIZER))
    expected = model.encode(_CHECKED_TEXTS, batch_size=3, prompt="", normalize_embeddings=True, show_progress_bar=False)
    manifest = Manifest(
        dimension=int(expected.shape[1]),
        max_length=min(model.max_seq_length or _LONGEST, _LONGEST),
        pad_id=model.tokenizer.pad_token_id or 0,
        probe=[float(number) for number in expected[0]],
    )
    _require_same_vectors(ExportedModel(target, manifest), expected)
    write_manifest(target, manifest)


def _require_traceable(model: SentenceTransformer) -> None:
    first, *others = model
    if type(first).__name__ != "Transformer":
        raise Unfit(f"it begins with a {type(first).__name__}, not with a Transformer")
    for module in others:
        if type(module).__name__ not in _TRACEABLE:
            raise Unfit(f"it has a module {type(module).__name__}")
        if not getattr(module, "include_prompt", True):
            raise Unfit("it leaves the prompt out of its pooling")
    if not model.tokenizer.is_fast:
        raise Unfit("its tokenizer has no fast form")


def _traced(model: SentenceTransformer) -> Any:
    """The example has rows of different lengths, so that the trace contains no branch for an all-ones mask."""
    ids = torch.randint(10, 100, (2, 7))
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 4:] = 0
    example = {"input_ids": ids, "attention_mask": mask}
    try:
        with torch.no_grad():
            return ov.convert_model(_TokensToUnitVectors(model), example_input=example)
    except Exception as error:
        raise Unfit(f"its graph cannot be converted: {type(error).__name__}") from error


def _require_same_vectors(exported: ExportedModel, expected: Any) -> None:
    embedder = OpenVinoEmbedder(exported, batch_size=3, precision="f32")
    cosines = np.sum(embedder.embed_documents(_CHECKED_TEXTS) * expected, axis=1)
    if not cosines.min() >= _MIN_COSINE:
        raise Unfit(f"the exported graph gives other vectors: cosine {cosines.min():.5f}")


if __name__ == "__main__":
    main()
