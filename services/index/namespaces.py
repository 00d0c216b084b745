"""Finds and creates namespaces: from the names in the API to the rows that everything else is keyed by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from difflib import get_close_matches

from sqlalchemy import ColumnElement, and_, bindparam, func, select, update
from sqlalchemy.orm import Session

from database.dialects import insert_or_ignore
from database.engine import Database
from database.prepared import PreparedStatement, attached, attributes_of
from errors import NotFound
from models import Doc, IndexRow, IndexVersion, Project, Team
from services.index.auditing import record
from text.restriction import Restriction

EXTERNAL = "external-"
"""The prefix of embedding versions that stand for external vectors."""
COMPARED, NAMED = 200, 3


def is_listed() -> ColumnElement[bool]:
    """Whether a row of projects is a namespace that its tenant sees: neither erased nor a mirror of another."""
    return and_(Project.erased_at.is_(None), Project.mirror_of.is_(None))


def find(session: Session, tenant_id: str, namespace: str) -> Project | None:
    rows = _FIND.rows(session, {"tenant_id": tenant_id, "namespace": namespace})
    return attached(session, Project, _PROJECT_NAMES, rows[0]) if rows else None


def require_team(session: Session, name: str, *, for_update: bool = False) -> Team:
    """Raises NotFound, in the same words whether or not the team exists for somebody else."""
    query = select(Team).where(Team.name == name)
    team = session.scalar(query.with_for_update() if for_update else query)
    if team is None:
        raise NotFound("There is no such team: check tenant_id.", param="tenant_id")
    return team


def require(session: Session, tenant_id: str, namespace: str, restriction: Restriction | None = None) -> Project:
    """Raises NotFound, in the same words for a namespace that is not there and one that *restriction* excludes."""
    project = find(session, tenant_id, namespace) if restriction is None or restriction.includes(namespace) else None
    if project is None:
        raise NotFound(missing(session, tenant_id, namespace, restriction), param="namespace")
    return project


def is_unused(session: Session, project: Project) -> bool:
    """Returns whether no document was ever accepted, and no index version made.

    Under the project's row lock this holds until the commit.
    """
    doc = select(Doc.doc_id).where(Doc.team_id == project.team_id, Doc.project_id == project.id).limit(1)
    in_project = (IndexVersion.team_id == project.team_id, IndexVersion.project_id == project.id)
    version = select(IndexVersion.name).where(*in_project).limit(1)
    return session.scalar(doc) is None and session.scalar(version) is None


def missing(session: Session, tenant_id: str, namespace: str, restriction: Restriction | None = None) -> str:
    """Returns the message for a missing namespace. It does not reveal whether a tenant without namespaces exists.

    It names others of the tenant, but not to a caller with a *restriction*: without one, who may name a tenant sees all
    of it, and another team's is never looked up here.
    """
    return not_here(namespace, _nearest(session, tenant_id, namespace) if restriction is None else ())


def not_here(namespace: str, names: Sequence[str] = ()) -> str:
    """Returns the same message, with some of *names*, which are other namespaces of the tenant."""
    near = get_close_matches(namespace, names, n=NAMED, cutoff=0.5)
    listed = ", ".join(map(repr, near or names[:NAMED]))
    others = f"Did you mean {listed}? " if near else f"It has {listed}. " if listed else ""
    return (
        f"This tenant has no namespace {namespace!r}: check tenant_id and namespace. {others}A namespace is created "
        "with its first document or, with AUTH_MODE=keys, by an admin (POST /v1/teams/{tenant_id}/projects)."
    )


def _nearest(session: Session, tenant_id: str, namespace: str) -> list[str]:
    """Returns at most COMPARED names of the tenant's namespaces: comparing takes microseconds for each."""
    query = select(Project.name).join(Team, Team.id == Project.team_id).where(Team.name == tenant_id)
    query = query.where(is_listed())
    distance = func.abs(func.length(Project.name) - len(namespace))
    return list(session.scalars(query.order_by(distance, Project.name).limit(COMPARED)))


def create(database: Database, tenant_id: str, namespace: str, *, embedding_version: str, dimension: int) -> Project:
    """Returns the namespace; creates it, with its tenant and first index row, if it does not exist."""
    with database.write() as session:
        team = locked_team(session, tenant_id)
        project = find(session, tenant_id, namespace)
        if project is not None:
            return project
        return add(session, team, namespace, embedding_version=embedding_version, dimension=dimension)


def locked_team(session: Session, name: str) -> Team:
    """Its row, new if there is none: of several creators in it one at a time goes on from here."""
    session.execute(insert_or_ignore(session, Team).values(name=name))
    return session.scalars(select(Team).where(Team.name == name).with_for_update()).one()


def add(session: Session, team: Team, namespace: str, *, embedding_version: str, dimension: int) -> Project:
    """Creates a namespace with its first index row in a team that is locked and has none of this name."""
    numbering = update(Team).where(Team.id == team.id).values(next_project_id=Team.next_project_id + 1)
    next_id = session.execute(numbering.returning(Team.next_project_id)).scalar_one()
    project = Project(team_id=team.id, id=next_id - 1, name=namespace, embedding_version=embedding_version)
    project.has_quotas = team.has_quotas
    session.add(project)
    session.flush()
    key = {"team_id": team.id, "project_id": project.id, "embedding_version": embedding_version}
    session.add(IndexRow(**key, dimension=dimension))
    session.flush()
    record(session, "namespace.created", tenant_id=team.name, object=namespace, embedding_version=embedding_version)
    return project


def external_version(tenant_id: str, namespace: str, dimension: int) -> str:
    """Returns the version for external vectors: one per namespace, since their models are unknown."""
    digest = hashlib.sha256(f"{tenant_id}\x00{namespace}".encode()).hexdigest()
    return f"{EXTERNAL}{dimension}-{digest[:12]}"


_PROJECT_NAMES = attributes_of(Project)
_FIND = PreparedStatement(
    select(Project)
    .join(Team, Team.id == Project.team_id)
    .where(Team.name == bindparam("tenant_id"), Project.name == bindparam("namespace"), Project.mirror_of.is_(None))
)
