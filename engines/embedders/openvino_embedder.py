"""The embedder of machines without a GPU: an exported graph, run by OpenVINO, with no torch in the process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer

from domain import Vectors
from engines.embedders.batches import by_length, encodable, prompted
from engines.embedders.exported_model import GRAPH, PROBE_TEXT, TOKENIZER, ExportedModel
from errors import ModelUnavailable

Precision = Literal["auto", "bf16", "f32"]

# bf16 moves a vector by about 0.00004 in cosine; a damaged graph moves it out of sight.
_LEAST_PROBE_COSINE = 0.999
_TILE = 16


class OpenVinoEmbedder:
    """Queries and documents run on compiled copies of their own, made when first needed.

    On one copy a query waits for the batch that is running: measured on two cores, 78 ms beside an upsert
    against 3 ms with its own. A process that only embeds documents never pays for the second.
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
        """What is left of the model's length after its special tokens and the prompt for documents."""
        return self._max_tokens

    def count_tokens(self, text: str) -> int:
        encoding = self._tokenizer.encode(encodable(text), add_special_tokens=False)
        return len(encoding) + sum(len(rest) for rest in encoding.overflowing)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return self._embed(prompted(texts, self._document_prompt), "documents")

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed(prompted(texts, self._query_prompt), "queries")

    def _embed(self, texts: list[str], purpose: str) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        if not texts:
            return vectors
        lane = self._lane(purpose)
        rows = self._token_ids(texts)
        for batch in by_length([len(row) for row in rows], self._batch_size):
            vectors[batch] = lane.run([rows[position] for position in batch])
        return vectors

    def _token_ids(self, texts: list[str]) -> list[list[int]]:
        """Never an empty row: a tokenizer without special tokens makes one of an empty text."""
        pad = self._exported.manifest.pad_id
        return [encoding.ids or [pad] for encoding in self._tokenizer.encode_batch_fast(texts)]

    def _lane(self, purpose: str) -> _Lane:
        with self._lanes_lock:
            if purpose not in self._lanes:
                self._lanes[purpose] = self._open_lane()
            return self._lanes[purpose]

    def _open_lane(self) -> _Lane:
        lane = _Lane(self._exported, self._precision)
        (vector,) = lane.run(self._token_ids([PROBE_TEXT]))
        if not float(vector @ np.asarray(self._exported.manifest.probe)) >= _LEAST_PROBE_COSINE:
            raise ModelUnavailable(
                "The exported model gives other vectors than the model it was made from. Remove"
                f" {self._exported.folder.name} from MODEL_CACHE_DIR to have it made again, or set EMBED_PRECISION=f32."
            )
        return lane


class _Lane:
    """One compiled copy of the graph, used by one batch at a time, on all cores."""

    def __init__(self, exported: ExportedModel, precision: Precision) -> None:
        # Imported here: a process that only shows its help, or runs another kind, need not load it.
        from openvino import Core, Tensor

        self._tensor = Tensor
        core = Core()
        # Unpinned, or two lanes fight over the same cores while others are idle: a query beside an upsert then
        # takes 8 ms instead of 3.
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
        """The arrays that the request reads are kept: handing over new ones takes a tenth of a query's time."""
        if self._ids.shape != shape:
            self._ids, self._mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
            self._request.set_tensor("input_ids", self._tensor(self._ids, shared_memory=True))
            self._request.set_tensor("attention_mask", self._tensor(self._mask, shared_memory=True))

    def _width(self, longest: int) -> int:
        """Multiples of a tile: attention over 208 tokens is faster than over 202, by a tenth of the whole. And
        few of them: another shape than the last costs a query 0.5 ms.
        """
        return min(-(-longest // _TILE) * _TILE, max(longest, self._max_length))


def _inference_precision(core: Any, precision: Precision) -> str:
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if has_bf16 and precision != "f32" else "f32"


def _truncating_tokenizer(exported: ExportedModel) -> Tokenizer:
    """Set up once and never changed after: a change while another thread encodes raises."""
    tokenizer = Tokenizer.from_file(str(exported.folder / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(exported.manifest.max_length)
    return tokenizer
