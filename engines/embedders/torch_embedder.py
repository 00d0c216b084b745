"""The embedder for machines with a GPU, and for models that OpenVINO cannot run: SentenceTransformers itself.

Torch is imported by the constructor, not with this module: it costs seconds and 300 MB.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from domain import Vectors
from engines.embedders.base import Fitness
from engines.embedders.batches import by_length, encodable, with_prompt
from engines.embedders.fitness import fitness
from errors import ModelUnavailable

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_LONGEST = 32_768


class TorchEmbedder:
    """Runs one batch at a time for all threads: a query waits for one batch, not for a whole upsert."""

    def __init__(self, folder: Path, *, batch_size: int, query_prompt: str = "", document_prompt: str = "") -> None:
        self._batch_size = batch_size
        self._query_prompt = query_prompt
        self._document_prompt = document_prompt
        self._model = _load(folder)
        self._lock = threading.Lock()
        self._tokenizer = _counting_tokenizer(self._model)
        self._dimension = int(self._model.get_embedding_dimension() or self._encode([""]).shape[1])
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._max_tokens = (
            min(self._model.max_seq_length or _LONGEST, _LONGEST) - special - self.count_tokens(document_prompt)
        )

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def max_tokens(self) -> int:
        """The model's length without special tokens and the document prompt."""
        return self._max_tokens

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(encodable(text), add_special_tokens=False))

    def fitness(self, text: str) -> Fitness:
        return fitness(self._tokenizer, text)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return self._embed(with_prompt(texts, self._document_prompt))

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed(with_prompt(texts, self._query_prompt))

    def _embed(self, texts: list[str]) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for batch in by_length([len(text) for text in texts], self._batch_size):
            vectors[batch] = self._encode([texts[position] for position in batch])
        return vectors

    def _encode(self, texts: list[str]) -> Vectors:
        """The texts already contain the prompt; an empty one here suppresses the model's default."""
        with self._lock:
            vectors: Vectors = self._model.encode(
                texts,
                prompt="",
                batch_size=len(texts),
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return vectors


def _load(folder: Path) -> SentenceTransformer:
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ModelUnavailable("EMBED_BACKEND=torch needs the packages torch and sentence-transformers.") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return SentenceTransformer(
            str(folder), device=device, local_files_only=True, model_kwargs={"dtype": torch.float32}
        ).eval()
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ModelUnavailable(f"The embedding model cannot be loaded on {device}: {type(error).__name__}.") from error


def _counting_tokenizer(model: SentenceTransformer) -> Tokenizer:
    """A copy, because the library changes the settings of its own tokenizer with every call, unsafe for threads."""
    if not model.tokenizer.is_fast:
        raise ModelUnavailable("The embedding model's tokenizer has no fast form, so its tokens cannot be counted.")
    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
