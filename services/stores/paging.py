"""Lists by id, which is by time: a page goes on behind an id whether or not anything has that id any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy.orm import Session

Row = TypeVar("Row")
Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class PageQuery:
    """At most *limit* rows behind *after*, or the last ones in front of *before*."""

    limit: int
    order: Order = "desc"
    after: Any = None
    before: Any = None


@dataclass(frozen=True, slots=True)
class ListPage(Generic[Row]):
    data: Sequence[Row]
    has_more: bool


def rows_of(session: Session, query: Any, column: Any, page: PageQuery) -> ListPage[Any]:
    """*column* is what the list is ordered by. The rows are those of session.execute()."""
    is_ascending = page.order == "asc"
    for place, is_behind in ((page.after, True), (page.before, False)):
        if place is not None:
            query = query.where(column > place if is_ascending == is_behind else column < place)
    is_backwards = page.before is not None and page.after is None
    ordered = column if is_ascending != is_backwards else column.desc()
    rows = list(session.execute(query.order_by(ordered).limit(page.limit + 1)))
    has_more, rows = len(rows) > page.limit, rows[: page.limit]
    return ListPage(rows[::-1] if is_backwards else rows, has_more)
