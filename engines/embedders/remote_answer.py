"""Reads what an embeddings server answers, and believes none of it unread."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import httpx
import numpy as np

from domain import Vectors
from engines.openai_http import Unready, is_for_later, retry_after_seconds, said
from errors import ModelUnavailable

_TOO_MUCH_OR_WRONG = {400, 413, 422}


class Overlarge(Exception):
    """The server refuses this batch: for its size, or for one of its texts."""


def require_success(response: httpx.Response, *, longest_wait_seconds: float) -> None:
    """Raises Unready, Overlarge or ModelUnavailable for every status but 2xx."""
    status = response.status_code
    if response.is_success:
        return
    if status in (401, 403):
        raise ModelUnavailable(f"The embedding server does not let us in (status {status}): check EMBED_API_KEY.")
    if status in _TOO_MUCH_OR_WRONG:
        raise Overlarge(said(response.content))
    if is_for_later(status):
        raise _unready(response, longest_wait_seconds)
    raise ModelUnavailable(
        f"The embedding server answered {status}: check EMBED_BASE_URL and EMBED_MODEL_NAME. {said(response.content)}"
    )


def read_vectors(response: httpx.Response, count: int) -> Vectors:
    """Unit vectors in the order of the question. Raises ModelUnavailable for an answer that is not sound."""
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
    """A zero vector has no direction: it would be equally near to everything, without anybody noticing."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not lengths.all():
        raise ModelUnavailable("The embedding server answered with a zero vector.")
    unit: Vectors = (vectors / lengths).astype(np.float32)
    return unit


def _numbers(embedding: list[float] | str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Base64 holds little-endian float32, as OpenAI's own client reads it, whether it was asked for or not."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4").astype(np.float64)
    return np.asarray(embedding, np.float64)


def _unready(response: httpx.Response, longest_wait_seconds: float) -> Exception:
    wait_seconds = retry_after_seconds(response.headers)
    if wait_seconds is not None and wait_seconds > longest_wait_seconds:
        return ModelUnavailable(f"The embedding server asks for a pause of {wait_seconds:.0f} seconds.")
    return Unready(f"status {response.status_code}. {said(response.content)}", retry_after_seconds=wait_seconds)
