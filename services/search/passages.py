"""The rows of what was found, in the same snapshot that it was found in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import and_, bindparam, or_, select
from sqlalchemy.orm import Session

from database.batching import batched
from domain import Vectors, chunk_id
from models import Chunk, Revision
from services.search.fusing import Candidate
from services.search.question import Passage
from snapshot import Snapshot, is_live, vectors_of
from text.joining import Piece, joined

IDS_PER_QUERY = 1000


def rows_of(session: Session, seen: Snapshot, wanted: Iterable[int]) -> dict[int, Any]:
    """By id; one that is not visible in the snapshot is not there."""
    place = {"team_id": seen.project.team_id, "project_id": seen.project.id, "seq": seen.project.seq}
    rows: dict[int, Any] = {}
    for ids in batched(list(wanted), IDS_PER_QUERY):
        rows.update({row.faiss_id: row for row in session.execute(_ROWS, {**place, "wanted": ids})})
    return rows


def docs_of(session: Session, seen: Snapshot, wanted: Sequence[int]) -> dict[int, str]:
    """Whose chunks they are."""
    in_project = and_(Chunk.team_id == seen.project.team_id, Chunk.project_id == seen.project.id)
    docs: dict[int, str] = {}
    for ids in batched(wanted, IDS_PER_QUERY):
        query = select(Chunk.faiss_id, Chunk.doc_id).where(in_project, Chunk.faiss_id.in_(ids))
        docs.update((row[0], row[1]) for row in session.execute(query))
    return docs


def passages_of(candidates: Sequence[Candidate], rows: Mapping[int, Any]) -> list[Passage]:
    return [_passage(rows[each.faiss_id], each) for each in candidates if each.faiss_id in rows]


def own_vectors(session: Session, seen: Snapshot, wanted: Sequence[int]) -> Vectors:
    """Those of the chunks, row by row."""
    ids, vectors = vectors_of(session, seen.key, Chunk.faiss_id.in_(wanted), seen.index.dimension)
    return vectors[np.searchsorted(ids, wanted)]


def with_context(session: Session, seen: Snapshot, passages: Sequence[Passage], reach: int) -> list[Passage]:
    """Each with up to *reach* chunks before it and after it, of its own revision, as one text."""
    pieces: dict[tuple[str, int], dict[int, Piece]] = defaultdict(dict)
    for some in batched(passages, IDS_PER_QUERY // 10):
        near = [_is_near(passage, reach) for passage in some]
        in_project = and_(Chunk.team_id == seen.project.team_id, Chunk.project_id == seen.project.id)
        for row in session.execute(_PIECES.where(in_project, or_(*near))):
            pieces[row.doc_id, row.revision][row.chunk_index] = Piece(row.char_start, row.char_end, row.text)
    return [_joined(passage, pieces[passage.doc_id, passage.revision], reach) for passage in passages]


# Built once: building it takes as long as running it.
_ROWS = (
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
        Chunk.faiss_id.in_(bindparam("wanted", expanding=True)),
        Chunk.deleted_at.is_(None),
        is_live(bindparam("seq")),
    )
)  # fmt: skip

_PIECES = select(Chunk.doc_id, Chunk.revision, Chunk.chunk_index, Chunk.char_start, Chunk.char_end, Chunk.text)


def _passage(row: Any, candidate: Candidate) -> Passage:
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
    )


def _is_near(passage: Passage, reach: int) -> Any:
    index = passage.chunk_index
    return and_(
        Chunk.doc_id == passage.doc_id,
        Chunk.revision == passage.revision,
        Chunk.chunk_index.between(index - reach, index + reach),
    )


def _joined(passage: Passage, pieces: Mapping[int, Piece], reach: int) -> Passage:
    index = passage.chunk_index
    near = [pieces[number] for number in range(index - reach, index + reach + 1) if number in pieces]
    return replace(passage, context=joined(near))
