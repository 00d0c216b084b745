"""The reranker in this process: a SentenceTransformers cross-encoder from a folder or the hub.

Torch is imported by the constructor, not with this module: it costs seconds and 300 MB.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engines.embedders.model_folder import find_model
from errors import ModelUnavailable, RerankerUnavailable

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

_BATCH_TEXTS = 16


class CrossEncoderReranker:
    """Scores one question at a time; safe from any thread."""

    def __init__(self, model_name: str) -> None:
        self._model = _load(model_name)
        self._lock = threading.Lock()

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        with self._lock:
            predictions = self._model.predict(
                [(query, text) for text in texts], batch_size=_BATCH_TEXTS, show_progress_bar=False
            )
        scores = np.asarray(predictions, np.float64)
        if scores.shape != (len(texts),) or not np.isfinite(scores).all():
            raise RerankerUnavailable("RERANK_MODEL_NAME is not a reranker: it does not return one number per pair.")
        result: list[float] = scores.tolist()
        return result

    def close(self) -> None:
        """Nothing to release."""


def _load(model_name: str) -> CrossEncoder:
    try:
        folder = find_model(model_name)
    except ModelUnavailable as error:
        message = (
            str(error)
            .partition(" To start with the bundled model")[0]
            .replace("EMBED_MODEL_NAME", "RERANK_MODEL_NAME")
            .replace("embedding model", "reranker")
        )
        raise RerankerUnavailable(message) from error
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise RerankerUnavailable("A local reranker needs the packages torch and sentence-transformers.") from error
    try:
        return CrossEncoder(str(folder), local_files_only=True)
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        raise RerankerUnavailable(f"The reranker {model_name!r} cannot be loaded: {type(error).__name__}.") from error
