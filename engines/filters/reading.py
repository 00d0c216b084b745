"""What the database says of a namespace's live chunks, as filters ask it: in runs of chunks that say the same.

No statement joins tables: a Postgres that has no statistics yet, as after a large batch, would go through one table
for each row of the other.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Select, Text, cast, null, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from engines.filters.catalog import Run
from engines.vectors.truth import is_live
from models import Chunk, Doc, Project, Revision, RevisionStatus
from text.filters import BUILT_IN, METADATA, PAGE, Fields

T = TypeVar("T")

VALUES_PER_QUERY = 1000
_STREAMED = {"yield_per": 1000}
_CREATED = "created_at"
_COLUMNS: Mapping[str, InstrumentedAttribute[Any]] = {
    "doc_id": Revision.doc_id,
    "source_type": Revision.source_type,
    "mime_type": Revision.mime_type,
    "updated_at": Revision.published_at,
}


class _Special(NamedTuple):
    """A chunk that says more than its document does."""

    faiss_id: int
    metadata: str | None
    page_start: int | None
    page_end: int | None


def read_runs(session: Session, project: Project, keys: Collection[str]) -> Iterator[Run]:
    """Everything that is live at the snapshot that *project* comes from. Only what the keys need is read."""
    specials = _specials(session, project, keys, is_live(project.seq))
    created = _created(session, project, None) if _CREATED in keys else {}
    rows = session.execute(_revisions(project, keys), execution_options=_STREAMED)
    return _runs(rows, keys, specials, created)


def read_changes(session: Session, project: Project, keys: Collection[str], *, since: int) -> Iterator[Run]:
    """What appeared, or was described anew, after the number *since*."""
    rows = session.execute(_revisions(project, keys).where(Revision.published_seq > since)).all()
    specials: list[_Special] = []
    for some in _steps([first_id + place for first_id, length, *_ in rows for place in range(length)]):
        specials += _specials(session, project, keys, Chunk.faiss_id.in_(some))
    created: dict[str, datetime] = {}
    for doc_ids in _steps([row.doc_id for row in rows] if _CREATED in keys else []):
        created |= _created(session, project, doc_ids)
    return _runs(rows, keys, sorted(specials), created)


def _revisions(project: Project, keys: Collection[str]) -> Select[Any]:
    """Of live revisions: first chunk, how many, doc_id, metadata as text if it is asked for, and some columns."""
    has_metadata = any(key not in BUILT_IN for key in keys)
    metadata: Any = cast(Revision.doc_metadata, Text) if has_metadata else null()
    columns: list[Any] = [Revision.first_id, Revision.chunk_count, Revision.doc_id, metadata]
    query = select(*columns, *(column for key, column in _COLUMNS.items() if key in keys))
    in_project = (Revision.team_id == project.team_id, Revision.project_id == project.id)
    return query.where(*in_project, Revision.status == RevisionStatus.LIVE)


def _specials(session: Session, project: Project, keys: Collection[str], which: ColumnElement[bool]) -> list[_Special]:
    """The chunks that have metadata of their own, or pages, if the keys ask for that; by their numbers."""
    says = [Chunk.chunk_metadata.is_not(None)] if any(key not in BUILT_IN for key in keys) else []
    says += [Chunk.page_start.is_not(None)] if PAGE in keys else []
    if not says:
        return []
    query = select(Chunk.faiss_id, cast(Chunk.chunk_metadata, Text), Chunk.page_start, Chunk.page_end)
    query = query.where(Chunk.team_id == project.team_id, Chunk.project_id == project.id, or_(*says), which)
    rows = session.execute(query.order_by(Chunk.faiss_id), execution_options=_STREAMED)
    return [_Special(*row) for row in rows]


def _created(session: Session, project: Project, doc_ids: Sequence[str] | None) -> dict[str, datetime]:
    query = select(Doc.doc_id, Doc.created_at).where(Doc.team_id == project.team_id, Doc.project_id == project.id)
    if doc_ids is not None:
        query = query.where(Doc.doc_id.in_(doc_ids))
    return {doc_id: time for doc_id, time in session.execute(query)}


def _runs(
    rows: Iterable[Any], keys: Collection[str], specials: Sequence[_Special], created: Mapping[str, datetime]
) -> Iterator[Run]:
    """A run for each revision, less the chunks that say more."""
    names = [key for key in _COLUMNS if key in keys]
    numbers = [special.faiss_id for special in specials]
    for first_id, length, doc_id, metadata, *told in rows:
        fields = dict(zip(names, told, strict=True))
        if metadata is not None:
            fields[METADATA] = json.loads(metadata)
        if created:
            fields[_CREATED] = created[doc_id]
        run = Run(first_id, length, fields)
        first, behind = bisect_left(numbers, first_id), bisect_left(numbers, first_id + length)
        yield from _split(run, specials[first:behind]) if first < behind else [run]


def _split(run: Run, specials: Sequence[_Special]) -> Iterator[Run]:
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


def _steps(values: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(values), VALUES_PER_QUERY):
        yield values[start : start + VALUES_PER_QUERY]
