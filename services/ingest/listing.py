"""Lists the documents of a namespace: by status, title and filter, in three orders, and counts them.

Status and order are the database's work, from an index. Titles and filters are compared here, document by document in
the order of the list, because the databases fold letters and compare JSON differently.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Literal

from sqlalchemy import ColumnElement, Select, func, literal_column, or_, select
from sqlalchemy.orm import Session

from errors import Invalid
from models import Doc, DocStatus, Project, Revision
from services.ingest.rows import DocView, fields_of, select_docs
from text.filters import PAGE, Filter, conditions, matches
from text.restriction import Restriction

Order = Literal["doc_id", "updated_at", "-updated_at"]
STEP_DOCS = 500
MOST_EXAMINED = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DocQuery:
    """What is listed. *title* is contained in the title, whatever the case. *after* is the cursor of the page before.
    Documents that the *restriction* of the caller does not show are not there.

    Raises Invalid for a filter on pages, which are those of chunks, and for a cursor of another order.
    """

    status: str | None = None
    title: str | None = None
    filters: Filter | None = None
    order: Order = "doc_id"
    after: str | None = None
    restriction: Restriction | None = None

    def __post_init__(self) -> None:
        if self.filters is not None and any(each.key == PAGE for each in conditions(self.filters)):
            raise Invalid(
                "page is a field of chunks: a search filters by it, a list of documents cannot.", param="filters"
            )
        if self.after is not None and self.order != "doc_id":
            _position(self.after)

    @property
    def compares(self) -> bool:
        """Whether documents must be read to know which belong to the list."""
        return self.title is not None or self.filters is not None or self.restriction is not None

    def cursor(self, doc: Doc) -> str:
        return doc.doc_id if self.order == "doc_id" else f"{doc.updated_at.isoformat()} {doc.doc_id}"

    def includes(self, view: DocView) -> bool:
        title = view.revision.title or ""
        if self.title is not None and _folded(self.title) not in _folded(title):
            return False
        return self.filters is None or matches(self.filters, fields_of(view.doc, view.revision))

    def shows(self, view: DocView) -> bool:
        return self.restriction is None or self.restriction.shows(fields_of(view.doc, view.revision))


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of the list. *next_cursor* is None at the end of the list."""

    views: list[DocView]
    next_cursor: str | None


def listed(session: Session, project: Project, query: DocQuery, *, limit: int) -> Listed:
    """At most *limit* documents, and fewer if MOST_EXAMINED have been compared: next_cursor then goes on."""
    views: list[DocView] = []
    step = STEP_DOCS if query.compares else limit + 1
    last = None
    for examined, view in enumerate(islice(_views(session, project, query, step=step), MOST_EXAMINED + limit), 1):
        if len(views) == limit or (query.compares and examined > MOST_EXAMINED):
            return Listed(views, last)
        last = query.cursor(view.doc)
        if query.includes(view):
            views.append(view)
    return Listed(views, None)


def count(session: Session, project: Project, query: DocQuery) -> int:
    """How many documents the whole list has. Reads each of them if they must be compared."""
    whole = replace(query, after=None)
    if query.compares:
        return sum(whole.includes(view) for view in _views(session, project, whole, step=STEP_DOCS))
    in_project = (Doc.team_id == project.team_id, Doc.project_id == project.id, Doc.deleted_at.is_(None))
    return session.scalar(select(func.count()).where(*in_project, *_has_status(query.status))) or 0


def _views(session: Session, project: Project, query: DocQuery, *, step: int) -> Iterator[DocView]:
    """The list before titles and filters are compared, *step* documents per statement.

    What is not shown is left out here already, so that no cursor is of it and no count of those examined includes it.
    """
    while True:
        batch = [DocView(*row) for row in session.execute(_select(project, query).limit(step))]
        yield from filter(query.shows, batch)
        if len(batch) < step:
            return
        query = replace(query, after=query.cursor(batch[-1].doc))


def _select(project: Project, query: DocQuery) -> Select[Doc, Revision]:
    docs = select_docs(project, Revision.revision == Doc.revision).where(Doc.deleted_at.is_(None))
    docs = docs.where(*_has_status(query.status))
    if query.order == "doc_id":
        return (docs if query.after is None else docs.where(Doc.doc_id > query.after)).order_by(Doc.doc_id)
    if query.after is not None:
        docs = docs.where(*_is_behind(query.after, is_descending=query.order == "-updated_at"))
    if query.order == "updated_at":
        return docs.order_by(Doc.updated_at, Doc.doc_id)
    return docs.order_by(Doc.updated_at.desc(), Doc.doc_id.desc())


def _has_status(status: str | None) -> list[ColumnElement[bool]]:
    """Of another status than ready there are few, which have an index of their own: its condition is repeated."""
    if status is None:
        return []
    is_not_ready = [] if status == DocStatus.READY else [Doc.status != literal_column("'ready'")]
    return [Doc.status == status, *is_not_ready]


def _is_behind(cursor: str, *, is_descending: bool) -> list[ColumnElement[bool]]:
    """The first condition follows from the second; it is what an index can use."""
    time, doc_id = _position(cursor)
    if is_descending:
        return [Doc.updated_at <= time, or_(Doc.updated_at < time, Doc.doc_id < doc_id)]
    return [Doc.updated_at >= time, or_(Doc.updated_at > time, Doc.doc_id > doc_id)]


def _position(cursor: str) -> tuple[datetime, str]:
    time, _, doc_id = cursor.partition(" ")
    try:
        position = datetime.fromisoformat(time)
    except ValueError:
        position = None
    if position is None or position.tzinfo is None or not doc_id:
        raise Invalid("The cursor is not of this order: start again without after.", param="after")
    return position, doc_id


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
