"""What follows the publications of a project, in their transaction."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from models import Project


class Follower(Protocol):
    """Keeps a row for each live chunk, or something like it. It commits and rolls back with the publication."""

    def follow(self, session: Session, project: Project, *, publications: int) -> None:
        """The project, whose row is locked, took that many numbers. show() and hide() say what changes under them."""
        ...

    def show(self, session: Session, project: Project, which: ColumnElement[bool]) -> None:
        """These chunks of the project appear."""
        ...

    def hide(self, session: Session, project: Project, which: ColumnElement[bool]) -> None:
        """These chunks of the project disappear."""
        ...
