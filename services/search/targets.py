"""Reads what a question searches: the version that serves, without a further query, or another one that is complete."""

from __future__ import annotations

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from database.prepared import PreparedStatement
from errors import NotFound, VersionMismatch
from models import IndexVersion, Project
from services.search.question import SearchTarget
from snapshot import Snapshot, read_snapshot, version_snapshot


def read_target(session: Session, target: SearchTarget, *, known: Snapshot | None = None) -> Snapshot | None:
    """Returns *known*, an earlier snapshot of the target, if it is still the same; None if there is no such namespace.

    Raises VersionMismatch if the version is not complete, NotFound if there is no index version of that name.
    """
    current = read_snapshot(session, *target.place, known=known)
    if current is None or (target.index_version is None and _is_serving(current, target.embedding_version)):
        return current
    way = _way_of(current, target.embedding_version)
    if target.index_version is not None:
        way = _named_way(session, current, target)
    if way not in _ways(current.namespace):
        raise _mismatch(current, target)
    chunks_of, version = way
    return version_snapshot(session, current, version, chunks_of=chunks_of)


Way = tuple[int, str]
"""A project whose chunks are searched, and an embedding version: what an index version is."""


def _ways(namespace: Project) -> list[Way]:
    """Those that are complete. Where several have an embedding version, its name alone means the first."""
    own = [(namespace.id, version) for version in namespace.indexed_versions]
    return [*own, *((mirror.id, mirror.version) for mirror in namespace.following_mirrors)]


def _is_serving(current: Snapshot, version: str | None) -> bool:
    return version is None or version == current.project.embedding_version


def _way_of(current: Snapshot, version: str | None) -> Way:
    ways = (way for way in _ways(current.namespace) if way[1] == version)
    return next(ways, (current.namespace.id, version or ""))


def _named_way(session: Session, current: Snapshot, target: SearchTarget) -> Way:
    """What the index version's name stands for."""
    owner = current.namespace
    rows = _VERSIONS.rows(session, {"the_team": owner.team_id, "the_project": owner.id})
    names = {name: (int(chunks_of), str(version)) for name, chunks_of, version in rows}
    names = names or {"initial": (owner.id, owner.embedding_version)}
    if (way := names.get(target.index_version or "")) is None:
        listed = ", ".join(map(repr, sorted(names)))
        raise NotFound(
            f"This namespace has no version {target.index_version!r}; it has {listed}.", param="index_version"
        )
    if target.embedding_version not in (None, way[1]):
        raise VersionMismatch(
            f"Version {target.index_version!r} is of embedding version {way[1]!r}, not {target.embedding_version!r}.",
            param="embedding_version",
        )
    return way


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
    select(IndexVersion.name, IndexVersion.chunks_of, IndexVersion.embedding_version).where(
        IndexVersion.team_id == bindparam("the_team"), IndexVersion.project_id == bindparam("the_project")
    )
)
