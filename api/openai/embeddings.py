"""/v1/embeddings: vectors of the service's own embedding model."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from api.access import needs
from api.dependencies import InRuntime
from api.doors import DoorBody, DoorRoute
from api.responses import EMBEDDING, raises
from api.strings import Key, QueryText, Word
from database.batching import batched
from domain import Json, Scope
from errors import Invalid, NotFound
from runtime.parts import Runtime
from services.search.checking import check_length

router = APIRouter(prefix="/v1/embeddings", tags=["openai"], route_class=DoorRoute)

MOST_INPUTS = 2048
TEXTS_AT_ONCE = 8
"""Searches get their turn between two calls of the model."""
QUERIES = ("query", "search_query")


class EmbeddingsIn(DoorBody):
    model: Key = Field(description="The embedding model of this service, or the name of its embedding version")
    input: QueryText | Annotated[list[QueryText], Field(fail_fast=True, min_length=1, max_length=MOST_INPUTS)] = Field(
        description="A text, or several. Token ids are not read", examples=["Cats sleep all day."]
    )
    encoding_format: Literal["float", "base64"] | None = Field(None, description="base64: of little-endian float32")
    dimensions: int | None = Field(None, ge=1, le=1_000_000, description="The model's own, if anything")
    input_type: Word | None = Field(None, description="query: embedded with the model's prompt for queries")


@router.post("")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(*EMBEDDING, NotFound)
def create_embeddings(body: EmbeddingsIn, runtime: InRuntime) -> Response:
    """A unit vector for each text, as a document's chunk would get it."""
    texts = _checked_texts(body, runtime)
    embedding = runtime.index.embedding
    _require_own_model(body.model, runtime)
    embedder = embedding.embedder(embedding.version)
    if body.dimensions not in (None, embedder.dimension):
        raise Invalid(f"The vectors of this model have {embedder.dimension} dimensions, no others.", param="dimensions")
    vectors = [vector for batch in batched(texts, TEXTS_AT_ONCE) for vector in _embed(runtime, batch, body.input_type)]
    tokens = sum(min(embedder.count_tokens(text), embedder.max_tokens) for text in texts)
    data = [_shown(number, vector, body.encoding_format) for number, vector in enumerate(vectors)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": data, "model": body.model, "usage": usage})


def _checked_texts(body: EmbeddingsIn, runtime: Runtime) -> list[str]:
    texts = [body.input] if isinstance(body.input, str) else body.input
    for number, text in enumerate(texts):
        if not text.strip():
            raise Invalid("An input is empty: there is nothing to embed.", param=f"input.{number}")
        check_length("An input", text, runtime.search.limits, param=f"input.{number}")
    return texts


def _require_own_model(name: str, runtime: Runtime) -> None:
    own = (runtime.index.embedding.version, runtime.settings.embed_model_name)
    if name not in own:
        raise NotFound(f"There is no embedding model {name!r}: this service runs {own[0]!r}.", param="model")


def _embed(runtime: Runtime, texts: Sequence[str], input_type: str | None) -> list[bytes]:
    """Little-endian float32."""
    embedding = runtime.index.embedding
    if input_type in QUERIES:
        dimension = embedding.embedder(embedding.version).dimension
        return [row.astype("<f4").tobytes() for row in embedding.embed_queries(embedding.version, dimension, texts)]
    vectors = embedding.embed(embedding.version, {str(number).encode(): text for number, text in enumerate(texts)})
    return list(vectors.values())


def _shown(index: int, vector: bytes, encoding: str | None) -> Json:
    shown = b64encode(vector).decode() if encoding == "base64" else np.frombuffer(vector, "<f4").tolist()
    return {"object": "embedding", "index": index, "embedding": shown}
