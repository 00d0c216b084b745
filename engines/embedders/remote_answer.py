"""Parses and validates the answers of an embeddings server."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import httpx
import numpy as np

from domain import Vectors
from engines.openai_http import RetryLater, is_retryable, retry_after_seconds, server_message
from errors import ModelUnavailable

_TOO_MUCH_OR_WRONG = {400, 413, 422}


class BatchRejected(Exception):
    """The server refuses this batch: for its size, or for one of its texts."""


def require_success(response: httpx.Response, *, max_wait_seconds: float) -> None:
    """Raises Unready, Overlarge or ModelUnavailable for every status but 2xx."""
    status = response.status_code
    if response.is_success:
        return
    if status in (401, 403):
        raise ModelUnavailable(f"The embedding server does not let us in (status {status}): check EMBED_API_KEY.")
    if status in _TOO_MUCH_OR_WRONG:
        raise BatchRejected(server_message(response.content))
    if is_retryable(status):
        raise _retry_later(response, max_wait_seconds)
    message = server_message(response.content)
    raise ModelUnavailable(
        f"The embedding server answered {status}: check EMBED_BASE_URL and EMBED_MODEL_NAME. {message}"
    )


def read_vectors(response: httpx.Response, count: int) -> Vectors:
    """Unit vectors in the order of the texts. Raises ModelUnavailable for an invalid answer."""
    try:
        items = sorted(response.json()["data"], key=lambda item: int(item["index"]))
        if [int(item["index"]) for item in items] != list(range(count)):
            raise ModelUnavailable(f"The embedding server answered with {len(items)} vectors for {count} texts.")
        vectors = np.stack([_numbers(item["embedding"]) for item in items])
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise ModelUnavailable(
            "The embedding server answered with something else than vectors of one length."
        ) from error
    if vectors.ndim != 2 or vectors.shape[1] == 0 or not np.isfinite(vectors).all():
        raise ModelUnavailable("The embedding server answered with vectors that are empty or not finite.")
    return _unit(vectors)


def _unit(vectors: np.ndarray[Any, np.dtype[np.float64]]) -> Vectors:
    """Refuses zero vectors: without a direction, they would silently be equally near to everything."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not lengths.all():
        raise ModelUnavailable("The embedding server answered with a zero vector.")
    unit: Vectors = (vectors / lengths).astype(np.float32)
    return unit


def _numbers(embedding: list[float] | str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Accepts base64 of little-endian float32 too: some servers send it unrequested, as OpenAI's client reads it."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4").astype(np.float64)
    return np.asarray(embedding, np.float64)


def _retry_later(response: httpx.Response, max_wait_seconds: float) -> Exception:
    wait_seconds = retry_after_seconds(response.headers)
    if wait_seconds is not None and wait_seconds > max_wait_seconds:
        return ModelUnavailable(f"The embedding server asks for a pause of {wait_seconds:.0f} seconds.")
    return RetryLater(
        f"status {response.status_code}. {server_message(response.content)}", retry_after_seconds=wait_seconds
    )
