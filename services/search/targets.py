"""Reads what a question searches: the version that serves, without a further query, or another one that is complete."""

from __future__ import annotations

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from database.prepared import PreparedStatement
from errors import NotFound, VersionMismatch
from models import IndexVersion
from services.search.question import SearchTarget
from snapshot import Snapshot, read_snapshot, version_snapshot


def read_target(session: Session, target: SearchTarget, *, known: Snapshot | None = None) -> Snapshot | None:
    """Returns *known*, an earlier snapshot of the target, if it is still the same; None if there is no such namespace.

    Raises VersionMismatch if the version is not complete, NotFound if there is no index version of that name.
    """
    current = read_snapshot(session, *target.place, known=known)
    if current is None or (target.index_version is None and _is_serving(current, target.embedding_version)):
        return current
    version = target.embedding_version
    if target.index_version is not None:
        version = _embedding_version(session, current, target)
    if version not in current.project.indexed_versions:
        raise _mismatch(current, target)
    return version_snapshot(session, current, version)


def _is_serving(current: Snapshot, version: str | None) -> bool:
    return version is None or version == current.project.embedding_version


def _embedding_version(session: Session, current: Snapshot, target: SearchTarget) -> str | None:
    """The embedding version that the index version's name stands for."""
    key = {"the_team": current.project.team_id, "the_project": current.project.id}
    names = dict(_VERSIONS.rows(session, key)) or {"initial": current.project.embedding_version}
    if (version := names.get(target.index_version or "")) is None:
        listed = ", ".join(map(repr, sorted(names)))
        raise NotFound(
            f"This namespace has no version {target.index_version!r}; it has {listed}.", param="index_version"
        )
    if target.embedding_version not in (None, version):
        raise VersionMismatch(
            f"Version {target.index_version!r} is of embedding version {version!r}, not {target.embedding_version!r}.",
            param="embedding_version",
        )
    return str(version)


def _mismatch(current: Snapshot, target: SearchTarget) -> VersionMismatch:
    serving = current.project.embedding_version
    if target.index_version is not None:
        return VersionMismatch(
            f"Version {target.index_version!r} is not complete, so that it cannot answer: see GET /v1/index/versions/"
            f"{target.index_version}. Leave index_version out to search the one that serves.",
            param="index_version",
        )
    return VersionMismatch(
        f"This namespace is served under embedding version {serving!r}, not {target.embedding_version!r}. Leave "
        "embedding_version out, or make an index version of it first (POST /v1/index/versions), or rebuild with "
        "reembed=true and that new_embedding_version.",
        param="embedding_version",
    )


_VERSIONS = PreparedStatement(
    select(IndexVersion.name, IndexVersion.embedding_version).where(
        IndexVersion.team_id == bindparam("the_team"), IndexVersion.project_id == bindparam("the_project")
    )
)
