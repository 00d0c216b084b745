"""The installation's embedding version: what processes that name no model run, and new namespaces get."""

from __future__ import annotations

import logging

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.dialects import insert_or_ignore
from database.engine import Database
from errors import NotFound
from models import EmbeddingVersion, Installation

log = logging.getLogger(__name__)

ROW = 1
"""The id of the only row."""


def chosen_version(session: Session) -> EmbeddingVersion | None:
    """None until the first process has loaded its model: one that cannot be loaded is no choice."""
    choice = select(Installation.embedding_version).where(Installation.id == ROW)
    return session.scalar(select(EmbeddingVersion).where(EmbeddingVersion.name == choice.scalar_subquery()))


def version_to_run(database: Database, name: str) -> EmbeddingVersion | None:
    """Returns the version of a process that names no model: the one of that name, or else the installation's."""
    with database.read() as session:
        named = session.get(EmbeddingVersion, name) if name else None
        return named if named is not None and not named.is_external else chosen_version(session)


def ensure_chosen(database: Database, name: str) -> EmbeddingVersion:
    """Returns the installation's version; *name* becomes it if there is none. Of several processes the first wins."""
    with database.read() as session:
        row = chosen_version(session)
    if row is not None:
        return row
    with database.write() as session:
        session.execute(insert_or_ignore(session, Installation).values(id=ROW, embedding_version=name))
        row = chosen_version(session)
        assert row is not None
        return row


def warn_of_difference(chosen: EmbeddingVersion, version: str) -> None:
    if difference := difference_from(chosen, version):
        log.warning("%s", difference)


def difference_from(chosen: EmbeddingVersion, version: str) -> str:
    """Returns what to know and to do where a process runs another version than the installation's; else nothing."""
    if chosen.name == version:
        return ""
    return (
        f"This process is set to embedding version {version!r}, and the installation's is {chosen.name!r} (model "
        f"{chosen.model!r}). New namespaces of this process get its own; others keep theirs. To run the installation's "
        "model, unset EMBED_MODEL_NAME and EMBEDDING_VERSION; to make this one the installation's: "
        f"manage.py use-version {version}"
    )


def choose(database: Database, name: str) -> None:
    """Make *name* the installation's version. Raises NotFound unless it stands for a model."""
    with database.write() as session:
        version = session.get(EmbeddingVersion, name, with_for_update=True)
        if version is None or version.is_external:
            raise NotFound(f"No model has the embedding version {name!r}: see manage.py versions.", param="name")
        session.merge(Installation(id=ROW, embedding_version=name))
