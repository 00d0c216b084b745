"""Reads the filterable fields of a namespace's live chunks, as ranges of chunks with equal values.

No statement joins tables: without statistics, as after a large batch, Postgres would scan one table for each row of
the other.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Select, Table, Text, func, null, or_, select
from sqlalchemy.orm import Session

from database.batching import batched
from models import Chunk, Doc, Project, Revision, RevisionStatus
from services.search.filters.catalog import ChunkRange
from snapshot import is_live
from text.filters import BUILT_IN, METADATA, PAGE, Fields, lookup, path_of

VALUES_PER_QUERY = 1000
CACHED_TEXTS = 1000
_STREAMED = {"yield_per": 1000}
_DECODER = json.JSONDecoder()
_CREATED = "created_at"
# Rows of tables cost less than rows of mapped classes.
_DOCS, _REVISIONS, _CHUNKS = (cast(Table, each.__table__).c for each in (Doc, Revision, Chunk))
_COLUMNS: Mapping[str, ColumnElement[Any]] = {
    "doc_id": _REVISIONS.doc_id,
    "source_type": _REVISIONS.source_type,
    "mime_type": _REVISIONS.mime_type,
    "updated_at": func.coalesce(_REVISIONS.published_at, _REVISIONS.created_at),
}
# An older version of the service, which may still publish during an upgrade, writes neither first_id nor published_at.
_OF_REVISION = [_CHUNKS[name] == _REVISIONS[name] for name in ("team_id", "project_id", "doc_id", "revision")]
_FIRST_ID = func.coalesce(
    _REVISIONS.first_id, select(func.min(_CHUNKS.faiss_id)).where(*_OF_REVISION).scalar_subquery()
).label("first_id")


class _OwnFields(NamedTuple):
    """The chunks with fields of their own beside their documents': metadata as text, and pages.

    Kept as columns: the garbage collector would traverse a million row objects again and again.
    """

    faiss_ids: list[int]
    texts: list[str | None]
    pages: list[range | None]


def read_ranges(session: Session, project: Project, keys: Collection[str]) -> Iterator[ChunkRange]:
    """All chunks that are live at the snapshot that *project* comes from. Reads only what the keys need."""
    own_fields = _own_fields(session, project, keys, [is_live(project.seq)])
    created_at = _created_at(session, project, None) if _CREATED in keys else {}
    rows = _streamed(session, _revisions(project, keys))
    return _ranges(rows, keys, own_fields, created_at)


def read_changes(session: Session, project: Project, keys: Collection[str], *, since: int) -> Iterator[ChunkRange]:
    """The chunks that were published, or whose description changed, after seq *since*."""
    is_new = or_(_REVISIONS.published_seq > since, _REVISIONS.published_seq.is_(None))
    rows = session.execute(_revisions(project, keys).where(is_new)).all()
    faiss_ids = sorted(first_id + offset for first_id, length, *_ in rows for offset in range(length))
    of_chunks = [_CHUNKS.faiss_id.in_(batch) for batch in batched(faiss_ids, VALUES_PER_QUERY)]
    own_fields = _own_fields(session, project, keys, of_chunks)
    created_at: dict[str, datetime] = {}
    for doc_ids in batched([row.doc_id for row in rows] if _CREATED in keys else [], VALUES_PER_QUERY):
        created_at |= _created_at(session, project, doc_ids)
    return _ranges(rows, keys, own_fields, created_at)


def _revisions(project: Project, keys: Collection[str]) -> Select[Any]:
    """Of live revisions: first id, chunk count, doc_id, metadata as text if needed, and columns of built-in keys."""
    has_metadata = any(key not in BUILT_IN for key in keys)
    metadata: Any = sa.cast(_REVISIONS.metadata, Text) if has_metadata else null()
    columns: list[Any] = [_FIRST_ID, _REVISIONS.chunk_count, _REVISIONS.doc_id, metadata]
    query = select(*columns, *(column for key, column in _COLUMNS.items() if key in keys))
    in_project = (_REVISIONS.team_id == project.team_id, _REVISIONS.project_id == project.id)
    return query.where(*in_project, _REVISIONS.status == RevisionStatus.LIVE)


def _own_fields(
    session: Session, project: Project, keys: Collection[str], conditions: Iterable[ColumnElement[bool]]
) -> _OwnFields:
    """The chunks that have metadata of their own, or pages, if the keys need them. Runs a query per condition."""
    has_metadata, has_page = any(key not in BUILT_IN for key in keys), PAGE in keys
    own_fields, null_column = _OwnFields([], [], []), cast(ColumnElement[Any], null())
    if not has_metadata and not has_page:
        return own_fields
    metadata = sa.cast(_CHUNKS.metadata, Text) if has_metadata else null_column
    pages = (_CHUNKS.page_start, _CHUNKS.page_end) if has_page else (null_column, null_column)
    has_value = [_CHUNKS.metadata.is_not(None)] * has_metadata + [_CHUNKS.page_start.is_not(None)] * has_page
    query = select(_CHUNKS.faiss_id, metadata, *pages).order_by(_CHUNKS.faiss_id)
    query = query.where(_CHUNKS.team_id == project.team_id, _CHUNKS.project_id == project.id, or_(*has_value))
    for condition in conditions:
        for faiss_id, text, first, last in _streamed(session, query.where(condition)):
            own_fields.faiss_ids.append(faiss_id)
            own_fields.texts.append(text)
            own_fields.pages.append(None if first is None else range(first, (last or first) + 1))
    return own_fields


def _created_at(session: Session, project: Project, doc_ids: Sequence[str] | None) -> dict[str, datetime]:
    query = select(_DOCS.doc_id, _DOCS.created_at)
    query = query.where(_DOCS.team_id == project.team_id, _DOCS.project_id == project.id)
    if doc_ids is not None:
        query = query.where(_DOCS.doc_id.in_(doc_ids))
    return {doc_id: time for doc_id, time in _streamed(session, query)}


def _streamed(session: Session, query: Select[Any]) -> Iterator[Any]:
    """The rows, fetched by the thousand: one by one they cost twice as much."""
    for batch in session.execute(query, execution_options=_STREAMED).partitions():
        yield from batch


def _ranges(
    rows: Iterable[Any], keys: Collection[str], own_fields: _OwnFields, created_at: Mapping[str, datetime]
) -> Iterator[ChunkRange]:
    """A range per revision, split at chunks with other values."""
    names = [key for key in _COLUMNS if key in keys]
    faiss_ids, reader = own_fields.faiss_ids, _ValueReader(keys)
    for first_id, length, doc_id, metadata, *columns in rows:
        fields = dict(zip(names, columns, strict=True))
        if metadata is not None:
            fields[METADATA] = _decode(metadata)
        if created_at:
            fields[_CREATED] = created_at[doc_id]
        whole = ChunkRange(first_id, length, reader.doc_values(fields))
        start, end = bisect_left(faiss_ids, first_id), bisect_left(faiss_ids, first_id + length)
        yield from (
            _split(whole, list(reader.chunk_ranges(fields, own_fields, start, end))) if start < end else [whole]
        )


class _ValueReader:
    """Reads the values of some keys from documents and chunks, in the order of the keys."""

    def __init__(self, keys: Collection[str]) -> None:
        self.keys = list(keys)
        paths = [path_of(key) for key in keys if key not in BUILT_IN]
        self.names = {name for path in paths for name in (path, path.partition(".")[0])}
        self.decode = lru_cache(CACHED_TEXTS)(_decode)  # many chunks often have the same

    def doc_values(self, fields: Fields) -> tuple[Any, ...]:
        return tuple([lookup(fields, key) for key in self.keys])

    def chunk_ranges(self, fields: Fields, own_fields: _OwnFields, start: int, end: int) -> Iterator[ChunkRange]:
        """Ranges of the single chunks at these positions whose values may differ from their document's *fields*."""
        for position in range(start, end):
            text, pages = own_fields.texts[position], own_fields.pages[position]
            own = self.decode(text) if text is not None else {}
            if pages is not None or not self.names.isdisjoint(own):
                yield ChunkRange(own_fields.faiss_ids[position], 1, self.doc_values(_merged_fields(fields, own, pages)))


def _merged_fields(doc_fields: Fields, own: Mapping[str, Any], pages: range | None) -> Fields:
    """A chunk's own fields override its document's."""
    fields = dict(doc_fields)
    if METADATA in fields:
        fields[METADATA] = {**fields[METADATA], **own}
    if pages is not None:
        fields[PAGE] = pages
    return fields


def _split(whole: ChunkRange, others: Sequence[ChunkRange]) -> Iterator[ChunkRange]:
    """The range, split around the chunks with other values."""
    start, end = whole.first_id, whole.first_id + whole.length
    for other in others:
        if start < other.first_id:
            yield ChunkRange(start, other.first_id - start, whole.values)
        yield other
        start = other.first_id + 1
    if start < end:
        yield ChunkRange(start, end - start, whole.values)


def _decode(text: str) -> Mapping[str, Any]:
    """Skips the overhead of json.loads(), which doubles the time for short texts."""
    value: dict[str, Any] = _DECODER.raw_decode(text)[0]
    return value
