"""The embedder for machines without a GPU: OpenVINO runs an exported graph, without torch in the process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from domain import Vectors
from engines.embedders.base import Fitness, Precision
from engines.embedders.batches import by_length, encodable, with_prompt
from engines.embedders.exported_model import GRAPH, PROBE_TEXT, TOKENIZER, ExportedModel
from engines.embedders.fitness import fitness
from engines.embedders.mapped_file import release_pages
from errors import ModelUnavailable

# bf16 changes a vector by about 0.00004 in cosine; a damaged graph changes it completely.
_MIN_PROBE_COSINE = 0.999
_TILE = 16
_SHORT_TOKENS = 512


class OpenVinoEmbedder:
    """Queries and documents have separate compiled copies of the graph, created at first use.

    With one copy a query waits for the running batch: measured on two cores, 78 ms beside an upsert against 3 ms with
    its own. A process that only embeds documents never loads the second, and one that mostly answers queries does not
    load it for a few short texts: they take the queries' copy, for no longer than a query does.
    """

    def __init__(
        self,
        exported: ExportedModel,
        *,
        batch_size: int,
        precision: Precision,
        query_prompt: str = "",
        document_prompt: str = "",
    ) -> None:
        self._exported = exported
        self._batch_size = batch_size
        self._precision = precision
        self._query_prompt = query_prompt
        self._document_prompt = document_prompt
        self._tokenizer = _truncating_tokenizer(exported)
        self._lanes: dict[str, _Lane] = {}
        self._lanes_lock = threading.Lock()
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._max_tokens = exported.manifest.max_length - special - self.count_tokens(document_prompt)

    @property
    def dimension(self) -> int:
        return self._exported.manifest.dimension

    @property
    def max_tokens(self) -> int:
        """The model's length without special tokens and the document prompt."""
        return self._max_tokens

    def count_tokens(self, text: str) -> int:
        encoding = self._tokenizer.encode(encodable(text), add_special_tokens=False)
        return len(encoding) + sum(len(rest) for rest in encoding.overflowing)

    def fitness(self, text: str) -> Fitness:
        return fitness(self._tokenizer, text)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return self._embed(with_prompt(texts, self._document_prompt), "documents")

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed(with_prompt(texts, self._query_prompt), "queries")

    def _embed(self, texts: list[str], purpose: str) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        if not texts:
            return vectors
        rows = self._token_ids(texts)
        lane = self._lane(self._purpose(purpose, rows))
        for batch in by_length([len(row) for row in rows], self._batch_size):
            vectors[batch] = lane.run([rows[position] for position in batch])
        return vectors

    def _token_ids(self, texts: list[str]) -> list[list[int]]:
        """Pads empty rows, which tokenizers without special tokens return for empty texts."""
        pad = self._exported.manifest.pad_id
        return [encoding.ids or [pad] for encoding in self._tokenizer.encode_batch_fast(texts)]

    def _purpose(self, purpose: str, rows: list[list[int]]) -> str:
        is_short = sum(map(len, rows)) <= _SHORT_TOKENS
        return "queries" if is_short and "queries" in self._lanes and "documents" not in self._lanes else purpose

    def _lane(self, purpose: str) -> _Lane:
        with self._lanes_lock:
            if purpose not in self._lanes:
                self._lanes[purpose] = self._open_lane()
            return self._lanes[purpose]

    def _open_lane(self) -> _Lane:
        lane = _Lane(self._exported, self._precision)
        (vector,) = lane.run(self._token_ids([PROBE_TEXT]))
        release_pages((self._exported.folder / GRAPH).with_suffix(".bin"))
        if not float(vector @ np.asarray(self._exported.manifest.probe)) >= _MIN_PROBE_COSINE:
            raise ModelUnavailable(
                "The exported model gives other vectors than the model it was made from. Remove"
                f" {self._exported.folder.name} from MODEL_CACHE_DIR to export it again, or set EMBED_PRECISION=f32."
            )
        return lane


class _Lane:
    """A compiled copy of the graph, used by one batch at a time, on all cores."""

    def __init__(self, exported: ExportedModel, precision: Precision) -> None:
        # Imported here, so that processes with another embedder do not load it.
        from openvino import Core, Tensor

        self._tensor = Tensor
        core = Core()
        # Unpinned: else two lanes share the same cores while others are idle, and a query beside an upsert takes
        # 8 ms instead of 3.
        compiled = core.compile_model(
            exported.folder / GRAPH,
            "CPU",
            {
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,
                "INFERENCE_PRECISION_HINT": _inference_precision(core, precision),
            },
        )
        self._request = compiled.create_infer_request()
        self._pad_id = exported.manifest.pad_id
        self._max_length = exported.manifest.max_length
        self._lock = threading.Lock()
        self._ids = self._mask = np.zeros((0, 0), np.int64)

    def run(self, rows: list[list[int]]) -> Vectors:
        """Unit vectors of one batch of token ids."""
        shape = (len(rows), self._width(max(len(row) for row in rows)))
        with self._lock:
            self._shape(shape)
            for position, row in enumerate(rows):
                self._ids[position, : len(row)] = row
                self._ids[position, len(row) :] = self._pad_id
                self._mask[position] = 0
                self._mask[position, : len(row)] = 1
            self._request.infer()
            vectors = np.array(self._request.get_output_tensor(0).data)
        # bf16 leaves the length of a vector at 1 ± 0.004.
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def _shape(self, shape: tuple[int, int]) -> None:
        """Reuses the input arrays: passing new ones takes a tenth of a query's time."""
        if self._ids.shape != shape:
            self._ids, self._mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
            self._request.set_tensor("input_ids", self._tensor(self._ids, shared_memory=True))
            self._request.set_tensor("attention_mask", self._tensor(self._mask, shared_memory=True))

    def _width(self, longest: int) -> int:
        """Multiples of a tile: attention over 208 tokens is faster than over 202, by a tenth of the total. And few
        distinct shapes: a change of shape costs a query 0.5 ms.
        """
        return min(-(-longest // _TILE) * _TILE, max(longest, self._max_length))


def _inference_precision(core: Any, precision: Precision) -> str:
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if has_bf16 and precision != "f32" else "f32"


def _truncating_tokenizer(exported: ExportedModel) -> Tokenizer:
    """Configured once: changing it while another thread encodes raises an error."""
    tokenizer = Tokenizer.from_file(str(exported.folder / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(exported.manifest.max_length)
    return tokenizer
