"""The embedder that asks a server: anything that answers OpenAI's ``POST /embeddings`` (TEI, vLLM, Ollama, …)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from math import ceil

import httpx
import numpy as np
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from domain import Vectors
from engines.embedders.batches import prompted
from engines.embedders.remote_answer import Overlarge, read_vectors, require_success
from engines.openai_http import RetryLater, address, pause_seconds
from errors import EmbeddingRefused, ModelUnavailable

_BATCH_TEXTS = 64
_BATCH_CHARS = 100_000
_ATTEMPTS = 4
_LONGEST_WAIT_SECONDS = 30.0
_MAX_TOKENS = 8192
_BYTES_PER_TOKEN = 4


class RemoteEmbedder:
    """Asks once when made, to learn the dimension. The server's own tokenizer is not known here.

    A batch that the server calls wrong is halved until the text that it means stands alone.
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
            self._dimension = int(self._ask(["dimension"]).shape[1])
        except BaseException:
            self._client.close()
            raise

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def max_tokens(self) -> int:
        """What most servers take. One that takes less cuts the text or refuses it, with a clear error."""
        return _MAX_TOKENS

    def count_tokens(self, text: str) -> int:
        """An estimate, four bytes of UTF-8 to a token: right within a quarter for prose in most scripts."""
        return ceil(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return self._embed(prompted(texts, self._document_prompt))

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed(prompted(texts, self._query_prompt))

    def close(self) -> None:
        """Let go of the connections to the server."""
        self._client.close()

    def _embed(self, texts: list[str]) -> Vectors:
        vectors = np.empty((len(texts), self._dimension), np.float32)
        for start, end in _batches(texts):
            vectors[start:end] = self._halving(texts[start:end], start)
        return vectors

    def _halving(self, texts: list[str], start: int) -> Vectors:
        """*start* is where *texts* begin in the caller's list, so that an error can name one of its texts."""
        try:
            vectors = self._ask(texts)
        except Overlarge as refusal:
            if len(texts) == 1:
                raise EmbeddingRefused(f"The embedding server refuses text {start}: {refusal}") from refusal
            middle = len(texts) // 2
            return np.concatenate([self._halving(texts[:middle], start), self._halving(texts[middle:], start + middle)])
        if vectors.shape[1] != self._dimension:
            raise ModelUnavailable(
                f"The embedding server answered with {vectors.shape[1]} dimensions after {self._dimension} before."
            )
        return vectors

    def _ask(self, texts: list[str]) -> Vectors:
        """One batch, tried again while the server says or seems that it will do better later."""
        retrying = Retrying(
            retry=retry_if_exception_type(RetryLater),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=pause_seconds,
            sleep=time.sleep,
            reraise=True,
        )
        try:
            return retrying(self._ask_once, texts)
        except RetryLater as error:
            raise ModelUnavailable(f"The embedding server does not answer: {error}") from error

    def _ask_once(self, texts: list[str]) -> Vectors:
        # Several servers refuse an empty text. A space has the same tokens, namely none.
        body = {"model": self._model, "input": [text or " " for text in texts], "encoding_format": "float"}
        try:
            response = self._client.post(self._url, json=body)
        except httpx.TransportError as error:
            raise RetryLater(type(error).__name__) from error
        require_success(response, longest_wait_seconds=_LONGEST_WAIT_SECONDS)
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
