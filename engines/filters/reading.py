"""What the database says of a namespace's live chunks, as filters ask it: in runs of chunks that say the same."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Text, and_, cast, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from engines.filters.catalog import Run
from engines.vectors.truth import is_live
from models import Chunk, Doc, Project, Revision
from text.filters import BUILT_IN, METADATA, PAGE, Fields

ROWS_PER_FETCH = 1000

_COLUMNS: dict[str, InstrumentedAttribute[Any]] = {
    "doc_id": Doc.doc_id,
    "source_type": Revision.source_type,
    "mime_type": Revision.mime_type,
    "created_at": Doc.created_at,
    "updated_at": Doc.published_at,
}


class _Special(NamedTuple):
    """A chunk that says more than its document does."""

    faiss_id: int
    metadata: str | None
    page_start: int | None
    page_end: int | None


def read_runs(session: Session, project: Project, keys: Collection[str], *, since: int | None) -> Iterator[Run]:
    """Everything that is live at the snapshot that *project* comes from; or what was published after *since*.

    Of the fields only those are read that the keys need.
    """
    built_in = [key for key in keys if key in _COLUMNS]
    has_metadata = any(key not in BUILT_IN for key in keys)
    specials = _specials(session, project, since, has_metadata=has_metadata, has_pages=PAGE in keys)
    ids = [special.faiss_id for special in specials]
    for first_id, length, metadata, *told in _docs(session, project, since, built_in, has_metadata=has_metadata):
        fields = dict(zip(built_in, told, strict=True))
        if has_metadata:
            fields[METADATA] = json.loads(metadata)
        run = Run(first_id, length, fields)
        some = specials[bisect_left(ids, first_id) : bisect_left(ids, first_id + length)]
        yield from _split(run, some) if some else [run]


def _docs(
    session: Session, project: Project, since: int | None, built_in: list[str], *, has_metadata: bool
) -> Iterator[Any]:
    """The number of a live revision's first chunk, how many there are, the metadata as text, and some fields."""
    metadata = cast(Revision.doc_metadata if has_metadata else None, Text)
    wanted: list[Any] = [Chunk.faiss_id, Revision.chunk_count, metadata, *(_COLUMNS[key] for key in built_in)]
    query = (
        select(*wanted)
        .select_from(Doc)
        .join(Revision, and_(_same_doc(Revision), Revision.revision == Doc.live_revision))
        .join(Chunk, and_(_same_doc(Chunk), Chunk.revision == Doc.live_revision, Chunk.chunk_index == 0))
        .where(Doc.team_id == project.team_id, Doc.project_id == project.id)
    )
    if since is not None:
        query = query.where(Doc.published_seq > since)
    return iter(session.execute(query, execution_options={"yield_per": ROWS_PER_FETCH}))


def _specials(
    session: Session, project: Project, since: int | None, *, has_metadata: bool, has_pages: bool
) -> list[_Special]:
    """Chunks that have metadata of their own, or pages where these are asked for, in the order of their numbers."""
    told = [(has_metadata, Chunk.chunk_metadata), (has_pages, Chunk.page_start)]
    is_special = [column.is_not(None) for is_asked, column in told if is_asked]
    if not is_special:
        return []
    query = (
        select(Chunk.faiss_id, cast(Chunk.chunk_metadata, Text), Chunk.page_start, Chunk.page_end)
        .where(Chunk.team_id == project.team_id, Chunk.project_id == project.id, or_(*is_special))
        .order_by(Chunk.faiss_id)
    )
    if since is None:
        query = query.where(is_live(project.seq))
    else:
        query = query.join(Doc, and_(_same_doc(Chunk), Doc.live_revision == Chunk.revision))
        query = query.where(Doc.published_seq > since)
    return [_Special(*row) for row in session.execute(query, execution_options={"yield_per": ROWS_PER_FETCH})]


def _same_doc(table: type[Revision] | type[Chunk]) -> ColumnElement[bool]:
    return and_(table.team_id == Doc.team_id, table.project_id == Doc.project_id, table.doc_id == Doc.doc_id)


def _split(run: Run, specials: list[_Special]) -> Iterator[Run]:
    """The special chunks each for itself, and what lies between them."""
    at, end = run.first_id, run.first_id + run.length
    for special in specials:
        if at < special.faiss_id:
            yield Run(at, special.faiss_id - at, run.fields)
        yield Run(special.faiss_id, 1, _fields(run.fields, special))
        at = special.faiss_id + 1
    if at < end:
        yield Run(at, end - at, run.fields)


def _fields(of_doc: Fields, chunk: _Special) -> Fields:
    """What a chunk says itself counts before what its document says."""
    fields = dict(of_doc)
    if chunk.metadata is not None and METADATA in fields:
        fields[METADATA] = {**fields[METADATA], **json.loads(chunk.metadata)}
    if chunk.page_start is not None:
        fields[PAGE] = range(chunk.page_start, (chunk.page_end or chunk.page_start) + 1)
    return fields
