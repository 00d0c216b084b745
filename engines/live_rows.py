"""A table with a row for each live chunk of a namespace: where it differs from the chunks, gone through in steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from index_manager import Ids
from models import Chunk
from snapshot import is_live


def numbers(session: Session, query: Select[int]) -> Ids:
    """What the query has in its only column."""
    return np.fromiter(session.scalars(query), np.int64)


def difference(session: Session, place: tuple[int, int], seq: int, held: Select[int]) -> tuple[Ids, Ids]:
    """The live chunks of a project, by its key, that have no row, and the rows whose chunk is not live.

    *held* gives the numbers of the rows. Compared here: Postgres would go through one table for each row of the other
    while it has no statistics.
    """
    in_project = (Chunk.team_id == place[0], Chunk.project_id == place[1])
    live = numbers(session, select(Chunk.faiss_id).where(*in_project, is_live(seq)))
    there = numbers(session, held)
    return np.setdiff1d(live, there, assume_unique=True), np.setdiff1d(there, live, assume_unique=True)


def steps(ids: Ids, size: int) -> Iterator[list[int]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size].tolist()
