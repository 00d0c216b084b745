"""What follows the publications of a project, in their transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy.orm import Session

from domain import ChunkContent
from models import Project


class Follower(Protocol):
    """Keeps a row for each live chunk, or something like it. It commits and rolls back with the publication."""

    def follow(self, session: Session, project: Project, *, publications: int) -> None:
        """The project, whose row is locked, took that many numbers. show() and hide() say what changes under them."""
        ...

    def show(self, session: Session, project: Project, chunks: Sequence[ChunkContent]) -> None:
        """These chunks of the project appear."""
        ...

    def hide(self, session: Session, project: Project, ids: Sequence[int]) -> None:
        """These chunks of the project disappear."""
        ...
