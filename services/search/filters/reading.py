"""What the database says of a namespace's live chunks, as filters ask it: in runs of chunks that say the same.

No statement joins tables: a Postgres that has no statistics yet, as after a large batch, would go through one table
for each row of the other.
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
from services.search.filters.catalog import Run
from snapshot import is_live
from text.filters import BUILT_IN, METADATA, PAGE, Fields, lookup, path_of

VALUES_PER_QUERY = 1000
TEXTS_REMEMBERED = 1000
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
# An older version of the service that still publishes, as in an upgrade, says neither the first number nor when.
_OF_REVISION = [_CHUNKS[name] == _REVISIONS[name] for name in ("team_id", "project_id", "doc_id", "revision")]
_FIRST_ID = func.coalesce(
    _REVISIONS.first_id, select(func.min(_CHUNKS.faiss_id)).where(*_OF_REVISION).scalar_subquery()
).label("first_id")


class _Specials(NamedTuple):
    """The chunks that may say more than their documents do, by their numbers: metadata as text, and pages.

    Columns, as the garbage collector would walk through a million rows again and again.
    """

    numbers: list[int]
    texts: list[str | None]
    pages: list[range | None]


def read_runs(session: Session, project: Project, keys: Collection[str]) -> Iterator[Run]:
    """Everything that is live at the snapshot that *project* comes from. Only what the keys need is read."""
    specials = _specials(session, project, keys, [is_live(project.seq)])
    created = _created(session, project, None) if _CREATED in keys else {}
    rows = _streamed(session, _revisions(project, keys))
    return _runs(rows, keys, specials, created)


def read_changes(session: Session, project: Project, keys: Collection[str], *, since: int) -> Iterator[Run]:
    """What appeared, or was described anew, after the number *since*."""
    is_news = or_(_REVISIONS.published_seq > since, _REVISIONS.published_seq.is_(None))
    rows = session.execute(_revisions(project, keys).where(is_news)).all()
    numbers = sorted(first_id + place for first_id, length, *_ in rows for place in range(length))
    of_chunks = [_CHUNKS.faiss_id.in_(some) for some in batched(numbers, VALUES_PER_QUERY)]
    specials = _specials(session, project, keys, of_chunks)
    created: dict[str, datetime] = {}
    for doc_ids in batched([row.doc_id for row in rows] if _CREATED in keys else [], VALUES_PER_QUERY):
        created |= _created(session, project, doc_ids)
    return _runs(rows, keys, specials, created)


def _revisions(project: Project, keys: Collection[str]) -> Select[Any]:
    """Of live revisions: first chunk, how many, doc_id, metadata as text if it is asked for, and some columns."""
    has_metadata = any(key not in BUILT_IN for key in keys)
    metadata: Any = sa.cast(_REVISIONS.metadata, Text) if has_metadata else null()
    columns: list[Any] = [_FIRST_ID, _REVISIONS.chunk_count, _REVISIONS.doc_id, metadata]
    query = select(*columns, *(column for key, column in _COLUMNS.items() if key in keys))
    in_project = (_REVISIONS.team_id == project.team_id, _REVISIONS.project_id == project.id)
    return query.where(*in_project, _REVISIONS.status == RevisionStatus.LIVE)


def _specials(
    session: Session, project: Project, keys: Collection[str], which: Iterable[ColumnElement[bool]]
) -> _Specials:
    """Those that have metadata of their own, or pages, if the keys ask for that. *which* are asked one by one."""
    has_metadata, has_page = any(key not in BUILT_IN for key in keys), PAGE in keys
    found, nothing = _Specials([], [], []), cast(ColumnElement[Any], null())
    if not has_metadata and not has_page:
        return found
    metadata = sa.cast(_CHUNKS.metadata, Text) if has_metadata else nothing
    pages = (_CHUNKS.page_start, _CHUNKS.page_end) if has_page else (nothing, nothing)
    says = [_CHUNKS.metadata.is_not(None)] * has_metadata + [_CHUNKS.page_start.is_not(None)] * has_page
    query = select(_CHUNKS.faiss_id, metadata, *pages).order_by(_CHUNKS.faiss_id)
    query = query.where(_CHUNKS.team_id == project.team_id, _CHUNKS.project_id == project.id, or_(*says))
    for each in which:
        for faiss_id, text, first, last in _streamed(session, query.where(each)):
            found.numbers.append(faiss_id)
            found.texts.append(text)
            found.pages.append(None if first is None else range(first, (last or first) + 1))
    return found


def _created(session: Session, project: Project, doc_ids: Sequence[str] | None) -> dict[str, datetime]:
    query = select(_DOCS.doc_id, _DOCS.created_at)
    query = query.where(_DOCS.team_id == project.team_id, _DOCS.project_id == project.id)
    if doc_ids is not None:
        query = query.where(_DOCS.doc_id.in_(doc_ids))
    return {doc_id: time for doc_id, time in _streamed(session, query)}


def _streamed(session: Session, query: Select[Any]) -> Iterator[Any]:
    """Its rows, fetched by the thousand: one by one they cost as much again."""
    for some in session.execute(query, execution_options=_STREAMED).partitions():
        yield from some


def _runs(
    rows: Iterable[Any], keys: Collection[str], specials: _Specials, created: Mapping[str, datetime]
) -> Iterator[Run]:
    """A run for each revision, less the chunks that say something else under the keys."""
    names = [key for key in _COLUMNS if key in keys]
    numbers, teller = specials.numbers, _Teller(keys)
    for first_id, length, doc_id, metadata, *columns in rows:
        fields = dict(zip(names, columns, strict=True))
        if metadata is not None:
            fields[METADATA] = _parsed(metadata)
        if created:
            fields[_CREATED] = created[doc_id]
        run = Run(first_id, length, teller.of_doc(fields))
        first, behind = bisect_left(numbers, first_id), bisect_left(numbers, first_id + length)
        yield from _split(run, list(teller.of_chunks(fields, specials, first, behind))) if first < behind else [run]


class _Teller:
    """What documents and their chunks say under some keys, in the order of the keys."""

    def __init__(self, keys: Collection[str]) -> None:
        self.keys = list(keys)
        paths = [path_of(key) for key in keys if key not in BUILT_IN]
        self.names = {name for path in paths for name in (path, path.partition(".")[0])}
        self.parsed = lru_cache(TEXTS_REMEMBERED)(_parsed)  # many chunks often have the same

    def of_doc(self, fields: Fields) -> tuple[Any, ...]:
        return tuple([lookup(fields, key) for key in self.keys])

    def of_chunks(self, fields: Fields, specials: _Specials, first: int, behind: int) -> Iterator[Run]:
        """Those of the specials in these places that say something else than their document's *fields*."""
        for place in range(first, behind):
            text, pages = specials.texts[place], specials.pages[place]
            own = self.parsed(text) if text is not None else {}
            if pages is not None or not self.names.isdisjoint(own):
                yield Run(specials.numbers[place], 1, self.of_doc(_fields(fields, own, pages)))


def _fields(of_doc: Fields, own: Mapping[str, Any], pages: range | None) -> Fields:
    """What a chunk says itself counts before what its document says."""
    fields = dict(of_doc)
    if METADATA in fields:
        fields[METADATA] = {**fields[METADATA], **own}
    if pages is not None:
        fields[PAGE] = pages
    return fields


def _split(run: Run, others: Sequence[Run]) -> Iterator[Run]:
    """The chunks that say something else, and what lies between them."""
    at, end = run.first_id, run.first_id + run.length
    for other in others:
        if at < other.first_id:
            yield Run(at, other.first_id - at, run.told)
        yield other
        at = other.first_id + 1
    if at < end:
        yield Run(at, end - at, run.told)


def _parsed(text: str) -> Mapping[str, Any]:
    """Without what json.loads() does besides, which takes as long for a text as short as most."""
    found: dict[str, Any] = _DECODER.raw_decode(text)[0]
    return found
