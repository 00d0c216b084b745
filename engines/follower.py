"""The interface of stores that take part in the publications of a project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.orm import Session

from domain import ChunkContent
from models import Project


@dataclass(frozen=True, slots=True)
class Advance:
    """A project, whose row *session* has locked, took its next *publications* seqs: none if it only took ids."""

    session: Session
    project: Project
    publications: int

    @property
    def previous_seq(self) -> int:
        return self.project.seq - self.publications


class Follower(Protocol):
    """Keeps derived data, such as a row per live chunk, that commits and rolls back with the publication."""

    def follow(self, advance: Advance) -> None:
        """Called before show() and hide(), which report the changes."""
        ...

    def show(self, session: Session, project: Project, chunks: Sequence[ChunkContent]) -> None:
        """These chunks become visible."""
        ...

    def hide(self, session: Session, project: Project, ids: Sequence[int]) -> None:
        """These chunks become invisible."""
        ...
