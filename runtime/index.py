"""The index wing: the stores of vectors and words, the embedding model, and what keeps them in step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from database.engine import Database
from engines.embedders.base import EmbedderConfig
from engines.embedders.model_folder import exact_name
from engines.embedders.opening import open_embedder
from engines.keywords.opening import open_keywords
from engines.vectors.opening import VectorsConfig, open_store
from job_queue import JobQueue
from runtime.parts import Index
from services.index.embedding import EmbeddingService
from services.index.index_versions import IndexVersionService
from services.index.indexing import IndexingService
from services.index.publishing import Publisher
from services.index.verifying import VerifyingService
from services.index.version_building import VersionBuilder
from services.index.versions import VersionService
from settings import Settings


@contextmanager
def open_index(settings: Settings, database: Database, queue: JobQueue) -> Iterator[Index]:
    vectors, keywords = open_store(database, _vectors_config(settings)), open_keywords(database)
    followers = (keywords, vectors.follower) if vectors.follower else (keywords,)
    publisher = Publisher(queue, vectors, followers)
    embedding = EmbeddingService(database, open_embedder, embedder_config(settings), settings.version)
    indexing = IndexingService(database, vectors, keywords, embedding, publisher)
    try:
        yield Index(
            vectors=vectors,
            keywords=keywords,
            embedding=embedding,
            publisher=publisher,
            indexing=indexing,
            versions=VersionService(database, own_version=settings.version),
            index_versions=IndexVersionService(database, queue, vectors, embedding, publisher, settings.chunk_tokens),
            building=VersionBuilder(database, indexing),
            verifying=VerifyingService(database, vectors, keywords),
        )
    finally:
        embedding.close()


def embedder_config(settings: Settings) -> EmbedderConfig:
    name = settings.embed_model_name
    return EmbedderConfig(
        model_name=name if settings.embed_backend == "remote" else exact_name(name),
        backend=settings.embed_backend,
        batch_size=settings.embed_batch_size,
        precision=settings.embed_precision,
        query_prompt=settings.embed_query_prompt,
        document_prompt=settings.embed_document_prompt,
        cache_dir=settings.model_cache_dir.expanduser(),
        base_url=settings.embed_base_url,
        api_key=settings.embed_api_key.get_secret_value(),
        timeout_seconds=settings.embed_timeout_seconds,
    )


def _vectors_config(settings: Settings) -> VectorsConfig:
    return VectorsConfig(
        kind=settings.vector_store,
        index_dir=settings.index_dir,
        exact_up_to=settings.index_exact_up_to,
        full_up_to=settings.index_full_up_to,
        recall=settings.index_recall,
        memory_bytes=settings.index_memory_mb << 20,
        rebuild_min_changes=settings.rebuild_min_changes,
        rebuild_share=settings.rebuild_share,
        prefers_half=settings.pgvector_halfvec,
    )
