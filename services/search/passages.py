"""Fetches the rows of the hits, in the snapshot of the search."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from sqlalchemy import and_, bindparam, select
from sqlalchemy.orm import Session

from database.batching import batched
from database.prepared import PreparedStatement, is_among
from domain import Ids, Json, Vectors, chunk_id
from models import Chunk, Revision
from services.search.question import Candidate, Passage
from snapshot import Snapshot, is_live, vectors_of
from text.joining import Piece, joined

IDS_PER_QUERY = 1000


class HitRow(NamedTuple):
    """A chunk and its document's description, in the order of the query below."""

    faiss_id: int
    doc_id: str
    chunk_index: int
    text: str
    section: str | None
    page_start: int | None
    page_end: int | None
    char_start: int
    char_end: int
    token_count: int
    revision: int
    chunk_metadata: Json | None
    doc_metadata: Json
    title: str | None


def rows_of(session: Session, snapshot: Snapshot, faiss_ids: Iterable[int]) -> dict[int, HitRow]:
    """Rows by chunk id, without those that are not visible in the snapshot."""
    project = snapshot.project
    parameters = {"team_id": project.team_id, "project_id": project.id, "seq": project.seq}
    rows: dict[int, HitRow] = {}
    for ids in batched(list(faiss_ids), IDS_PER_QUERY):
        rows.update((row[0], HitRow(*row)) for row in _ROWS.rows(session, {**parameters, "faiss_ids": ids}))
    return rows


def docs_of(session: Session, snapshot: Snapshot, faiss_ids: Sequence[int]) -> dict[int, str]:
    """The document of each chunk."""
    in_project = and_(Chunk.team_id == snapshot.project.team_id, Chunk.project_id == snapshot.project.id)
    docs: dict[int, str] = {}
    for ids in batched(faiss_ids, IDS_PER_QUERY):
        query = select(Chunk.faiss_id, Chunk.doc_id).where(in_project, Chunk.faiss_id.in_(ids))
        docs.update((row[0], row[1]) for row in session.execute(query))
    return docs


def passages_of(candidates: Sequence[Candidate], rows: Mapping[int, HitRow]) -> list[Passage]:
    return [_passage(rows[each.faiss_id], each) for each in candidates if each.faiss_id in rows]


def own_vectors(session: Session, snapshot: Snapshot, faiss_ids: Sequence[int]) -> Vectors:
    """The vectors of the chunks, in their order."""
    ids, vectors = vectors_of(session, snapshot.key, Chunk.faiss_id.in_(faiss_ids), snapshot.index.dimension)
    return vectors[np.searchsorted(ids, faiss_ids)]


def with_context(
    session: Session, snapshot: Snapshot, passages: Sequence[Passage], reach: int, *, visible: Ids | None = None
) -> list[Passage]:
    """Joins each passage with up to *reach* chunks of its revision before and after it, as one text.

    *visible*: the only chunks that the caller may see, ascending.
    """
    pieces: dict[tuple[str, int], dict[int, Piece]] = defaultdict(dict)
    in_project = and_(Chunk.team_id == snapshot.project.team_id, Chunk.project_id == snapshot.project.id)
    neighbours = _neighbours(passages, reach)
    if visible is not None:
        neighbours = np.intersect1d(neighbours, visible, assume_unique=True).tolist()
    for ids in batched(neighbours, IDS_PER_QUERY):
        for row in session.execute(_PIECES.where(in_project, Chunk.faiss_id.in_(ids))):
            pieces[row.doc_id, row.revision][row.chunk_index] = Piece(row.char_start, row.char_end, row.text)
    return [_joined(passage, pieces[passage.doc_id, passage.revision], reach) for passage in passages]


_ROWS = PreparedStatement(
    select(
        Chunk.faiss_id, Chunk.doc_id, Chunk.chunk_index, Chunk.text, Chunk.section, Chunk.page_start, Chunk.page_end,
        Chunk.char_start, Chunk.char_end, Chunk.token_count, Chunk.revision, Chunk.chunk_metadata,
        Revision.doc_metadata, Revision.title,
    )
    .join(
        Revision,
        and_(
            Revision.team_id == Chunk.team_id,
            Revision.project_id == Chunk.project_id,
            Revision.doc_id == Chunk.doc_id,
            Revision.revision == Chunk.revision,
        ),
    )
    .where(
        Chunk.team_id == bindparam("team_id"),
        Chunk.project_id == bindparam("project_id"),
        is_among(Chunk.faiss_id, "faiss_ids"),
        Chunk.deleted_at.is_(None),
        is_live(bindparam("seq")),
    )
)  # fmt: skip

_PIECES = select(Chunk.doc_id, Chunk.revision, Chunk.chunk_index, Chunk.char_start, Chunk.char_end, Chunk.text)


def _passage(row: HitRow, candidate: Candidate) -> Passage:
    return Passage(
        doc_id=row.doc_id,
        chunk_id=chunk_id(row.doc_id, row.chunk_index),
        chunk_index=row.chunk_index,
        text=row.text,
        score=candidate.score,
        metadata={**row.doc_metadata, **(row.chunk_metadata or {})},
        title=row.title,
        section=row.section,
        page_start=row.page_start,
        page_end=row.page_end,
        char_start=row.char_start,
        char_end=row.char_end,
        token_count=row.token_count,
        revision=row.revision,
        faiss_id=row.faiss_id,
        found_by=candidate.found_by,
        similarity=candidate.similarity,
        relevance=candidate.relevance,
    )


def _neighbours(passages: Sequence[Passage], reach: int) -> list[int]:
    """The ids around each passage: ids have no gap within a revision. Rows of other revisions are ignored later."""
    return sorted({passage.faiss_id + step for passage in passages for step in range(-reach, reach + 1)})


def _joined(passage: Passage, pieces: Mapping[int, Piece], reach: int) -> Passage:
    index = passage.chunk_index
    neighbours = [pieces[position] for position in range(index - reach, index + reach + 1) if position in pieces]
    return replace(passage, context=joined(neighbours))
