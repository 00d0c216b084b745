"""The interface of stores that take part in the publications of a project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy.orm import Session

from domain import ChunkContent
from models import Project


class Follower(Protocol):
    """Keeps derived data, such as a row per live chunk, that commits and rolls back with the publication."""

    def follow(self, session: Session, project: Project, *, publications: int) -> None:
        """The project, whose row is locked, advanced by that many seqs. show() and hide() report the changes."""
        ...

    def show(self, session: Session, project: Project, chunks: Sequence[ChunkContent]) -> None:
        """These chunks become visible."""
        ...

    def hide(self, session: Session, project: Project, ids: Sequence[int]) -> None:
        """These chunks become invisible."""
        ...
