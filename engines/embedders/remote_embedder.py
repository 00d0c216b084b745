"""An embedder behind a server with OpenAI's ``POST /embeddings`` (TEI, vLLM, Ollama, …)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from math import ceil

import httpx
import numpy as np
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from domain import Vectors
from engines.embedders.base import Fitness
from engines.embedders.batches import with_prompt
from engines.embedders.remote_answer import BatchRejected, read_vectors, require_success
from engines.openai_http import RetryLater, address, pause_seconds
from errors import EmbeddingRefused, ModelUnavailable

_BATCH_TEXTS = 64
_BATCH_CHARS = 100_000
_ATTEMPTS = 4
_MAX_WAIT_SECONDS = 30.0
_MAX_TOKENS = 8192
_BYTES_PER_TOKEN = 4


class RemoteEmbedder:
    """The constructor makes one request, to learn the dimension. The server's tokenizer is unknown.

    A batch that the server rejects is bisected until the rejected text is alone.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        api_key: str = "",
        timeout_seconds: float = 60.0,
        query_prompt: str = "",
        document_prompt: str = "",
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ModelUnavailable("EMBED_BACKEND=remote needs EMBED_BASE_URL, such as http://localhost:8080/v1.")
        try:
            self._url, auth = address(base_url, "embeddings")
        except httpx.InvalidURL as error:
            raise ModelUnavailable("EMBED_BASE_URL is not a URL.") from error
        self._model = model
        self._query_prompt = query_prompt
        self._document_prompt = document_prompt
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(headers=headers, auth=auth, timeout=timeout_seconds)
        try:
            self._dimension = int(self._request(["dimension"]).shape[1])
        except BaseException:
            self._client.close()
            raise

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def max_tokens(self) -> int:
        """The limit of most servers. One with a lower limit truncates the text or rejects it with a clear error."""
        return _MAX_TOKENS

    def count_tokens(self, text: str) -> int:
        """Estimates four bytes of UTF-8 per token: within 25% for prose in most scripts."""
        return ceil(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN)

    def fitness(self, text: str) -> Fitness:  # noqa: ARG002
        """The server keeps its tokenizer to itself."""
        return Fitness()

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return self._embed(with_prompt(texts, self._document_prompt))

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed(with_prompt(texts, self._query_prompt))

    def close(self) -> None:
        """Close the connections to the server."""
        self._client.close()

    def _embed(self, texts: list[str]) -> Vectors:
        vectors = np.empty((len(texts), self._dimension), np.float32)
        for start, end in _batches(texts):
            vectors[start:end] = self._embed_or_bisect(texts[start:end], start)
        return vectors

    def _embed_or_bisect(self, texts: list[str], start: int) -> Vectors:
        """*start* is the position of *texts* in the caller's list, for error messages."""
        try:
            vectors = self._request(texts)
        except BatchRejected as rejection:
            if len(texts) == 1:
                raise EmbeddingRefused(f"The embedding server refuses text {start}: {rejection}") from rejection
            middle = len(texts) // 2
            return np.concatenate(
                [self._embed_or_bisect(texts[:middle], start), self._embed_or_bisect(texts[middle:], start + middle)]
            )
        if vectors.shape[1] != self._dimension:
            raise ModelUnavailable(
                f"The embedding server answered with {vectors.shape[1]} dimensions after {self._dimension} before."
            )
        return vectors

    def _request(self, texts: list[str]) -> Vectors:
        """One batch, with retries while the error is temporary."""
        retrying = Retrying(
            retry=retry_if_exception_type(RetryLater),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=pause_seconds,
            sleep=time.sleep,
            reraise=True,
        )
        try:
            return retrying(self._request_once, texts)
        except RetryLater as error:
            raise ModelUnavailable(f"The embedding server does not answer: {error}") from error

    def _request_once(self, texts: list[str]) -> Vectors:
        # Several servers reject an empty text. A space has the same tokens: none.
        body = {"model": self._model, "input": [text or " " for text in texts], "encoding_format": "float"}
        try:
            response = self._client.post(self._url, json=body)
        except httpx.TransportError as error:
            raise RetryLater(type(error).__name__) from error
        require_success(response, max_wait_seconds=_MAX_WAIT_SECONDS)
        return read_vectors(response, len(texts))


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    start = chars = 0
    for position, text in enumerate(texts):
        if position > start and (position - start == _BATCH_TEXTS or chars + len(text) > _BATCH_CHARS):
            yield start, position
            start, chars = position, 0
        chars += len(text)
    if start < len(texts):
        yield start, len(texts)
