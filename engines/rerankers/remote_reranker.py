"""A reranker behind a server's ``POST /rerank``, in the format of TEI or of Cohere (vLLM, Jina, Infinity, …)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import httpx

from errors import RerankerUnavailable

Shape = Literal["tei", "cohere"]

_BATCH_TEXTS = 32  # TEI's default limit


class RemoteReranker:
    """Validates every answer and never retries: a search would rather return the fused order now."""

    def __init__(self, base_url: str, *, shape: Shape, model: str, api_key: str, timeout_seconds: float) -> None:
        self._url = f"{base_url.rstrip('/')}/rerank"
        self._shape = shape
        self._model = model
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(headers=headers, timeout=timeout_seconds)

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(texts), _BATCH_TEXTS):
            batch = texts[start : start + _BATCH_TEXTS]
            scores += _parse_scores(self._request(query, batch), len(batch))
        return scores

    def close(self) -> None:
        self._client.close()

    def _request(self, query: str, texts: Sequence[str]) -> Any:
        if self._shape == "tei":
            body: dict[str, Any] = {"query": query, "texts": list(texts), "truncate": True}
        else:
            body = {"model": self._model, "query": query, "documents": list(texts), "top_n": len(texts)}
        try:
            response = self._client.post(self._url, json=body)
            response.raise_for_status()
            return response.json()
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            raise RerankerUnavailable(f"The reranking server answered {status}: check RERANK_BASE_URL.") from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise RerankerUnavailable(f"The reranking server does not answer: {type(error).__name__}.") from error


def _parse_scores(answer: Any, count: int) -> list[float]:
    """TEI returns a list with score, Cohere an object with results and relevance_score."""
    try:
        items = answer["results"] if isinstance(answer, dict) else answer
        score_of = {int(item["index"]): float(item.get("relevance_score", item.get("score"))) for item in items}
        if len(items) != count:
            raise ValueError("the number of scores differs")
        scores = [score_of[index] for index in range(count)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RerankerUnavailable("The reranking server did not answer with one score per text.") from error
    if not all(map(math.isfinite, scores)):
        raise RerankerUnavailable("The reranking server answered with scores that are not finite.")
    return scores
