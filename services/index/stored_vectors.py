"""Keeps vectors and the chunks that need them together while others erase: neither is there without the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from database.batching import batched
from errors import Overtaken
from models import Chunk, Embedding

HASHES_PER_QUERY = 500


def of_chunks(session: Session, team_id: int, vectors: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Those of the vectors that a chunk needs: its text may have been erased while it was embedded.

    Locks the chunks' rows, so that whoever erases one waits for the vector, and removes it too.
    """
    kept: set[bytes] = set()
    for batch in batched(sorted(vectors), HASHES_PER_QUERY):
        query = select(Chunk.embed_hash).where(Chunk.team_id == team_id, Chunk.embed_hash.in_(batch))
        kept.update(session.scalars(query.with_for_update(read=True, key_share=True)))
    return {key: vector for key, vector in vectors.items() if key in kept}


def require_stored(session: Session, team_id: int, version: str, hashes: Iterable[bytes]) -> None:
    """Lock the vectors until the commit. Raises Overtaken if one was erased since it was looked up."""
    for batch in batched(sorted(set(hashes)), HASHES_PER_QUERY):
        of_version = and_(Embedding.team_id == team_id, Embedding.embedding_version == version)
        query = select(Embedding.embed_hash).where(of_version, Embedding.embed_hash.in_(batch))
        if len(session.scalars(query.with_for_update(read=True, key_share=True)).all()) < len(batch):
            raise Overtaken
