"""The rows of a namespace's index versions: which serves, which follow publications, and how that changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from domain import EventType, Json, Mirror
from errors import NotFound, ServiceError
from event_log import record_events
from models import IndexVersion, Project, utc_now
from services.index import namespaces
from services.index.publishing import Publisher

INITIAL = "initial"
"""The name of the version that served before there was a second one."""
NEVER, AT_ONCE, IF_PASSES = "never", "when_ready", "if_passes"


@dataclass(frozen=True, slots=True)
class VersionRows:
    """All versions of a project, oldest first. One of them is active, always."""

    project: Project
    rows: Sequence[IndexVersion]

    @property
    def active(self) -> IndexVersion:
        return next(each for each in self.rows if is_serving(self.project, each))

    @property
    def previous(self) -> IndexVersion | None:
        """The version that served last before the active one."""
        others = [each for each in self.rows if each is not self.active]
        retired = sorted((each.retired_at, each.name) for each in others if each.retired_at is not None)
        return self.find(retired[-1][1]) if retired else None

    def find(self, name: str) -> IndexVersion | None:
        return next((each for each in self.rows if each.name == name), None)

    def require(self, name: str) -> IndexVersion:
        """Raises NotFound."""
        row = self.find(name)
        if row is None:
            names = ", ".join(repr(each.name) for each in self.rows)
            raise NotFound(f"This namespace has no version {name!r}; it has {names}.", param="name")
        return row

    def store_initial(self, session: Session) -> None:
        """Before a second version is added."""
        session.add_all(each for each in self.rows if each not in session)

    def follow(self, row: IndexVersion) -> None:
        """From this commit on every publication brings the version's vectors, and its chunks, too."""
        now = utc_now()
        row.is_complete, row.covered_seq, row.problem, row.ready_at = True, self.project.seq, None, row.ready_at or now
        self._write_others()

    def stop_following(self, row: IndexVersion) -> None:
        row.is_complete, row.covered_seq = False, self.project.seq if row.is_complete else row.covered_seq
        self._write_others()

    def end_shadow(self, row: IndexVersion) -> None:
        if self.project.shadow is not None and self.project.shadow["name"] == row.name:
            self.project.shadow = None

    def _write_others(self) -> None:
        own = [each for each in self.rows if each.chunks_of == self.project.id and each.is_complete]
        names = {each.embedding_version for each in own} - {self.project.embedding_version}
        self.project.other_versions = sorted(names) or None
        for each in self.rows:
            if each.chunks_of != self.project.id:
                self.project.change_mirror(each.chunks_of, is_complete=each.is_complete)


def is_serving(project: Project, row: IndexVersion) -> bool:
    if row.chunks_of != project.id:
        return row.chunks_of == project.serving_mirror
    return project.serving_mirror is None and row.embedding_version == project.embedding_version


def mirror_of_row(project: Project, row: IndexVersion) -> Mirror | None:
    """The mirror that the version indexes; None if it indexes the namespace's own chunks."""
    return next((mirror for mirror in project.all_mirrors if mirror.id == row.chunks_of), None)


def read_rows(session: Session, project: Project) -> VersionRows:
    """Of a namespace without rows, its only version, which is not stored."""
    of_project = (IndexVersion.team_id == project.team_id, IndexVersion.project_id == project.id)
    stored = select(IndexVersion).where(*of_project).order_by(IndexVersion.created_at, IndexVersion.name)
    return VersionRows(project, session.scalars(stored).all() or [_initial(project)])


def lock(
    session: Session, publisher: Publisher, tenant_id: str, namespace: str, *, locks_team: bool = False
) -> Project:
    """The namespace, whose row is locked until the commit. Raises NotFound."""
    project = namespaces.require(session, tenant_id, namespace)
    return publisher.next_numbers(session, project, publications=0, locks_team=locks_team)[0]


def serve(
    session: Session,
    publisher: Publisher,
    rows: VersionRows,
    row: IndexVersion,
    *,
    event: EventType = EventType.VERSION_ACTIVATED,
) -> None:
    """Let a complete version serve, and record it. The one that served goes on following, for a rollback."""
    publisher.next_numbers(session, rows.project)  # a publication, so that every process takes notice
    now, before = utc_now(), rows.active
    before.retired_at, row.activated_at = now, now
    if row.chunks_of == rows.project.id:
        rows.project.embedding_version, rows.project.serving_mirror = row.embedding_version, None
    else:
        rows.project.serving_mirror = row.chunks_of
        publisher.follow(session, rows.project, row.chunks_of)
    rows.end_shadow(row)
    rows.follow(row)
    data: Json = {"name": row.name, "embedding_version": row.embedding_version, "before": before.name}
    key = {"team_id": rows.project.team_id, "project_id": rows.project.id}
    record_events(session, event, **key, data=[data | {"seq": rows.project.seq}])


def require_only_version(session: Session, project: Project, version: str, *, error: type[ServiceError]) -> None:
    """Raises *error* if the namespace has index versions that a re-embedding to *version* would not know of."""
    if version != project.embedding_version and len(read_rows(session, project).rows) > 1:
        raise error(
            "This namespace has index versions: instead of re-embedding it, make another version and activate it "
            "(POST /v1/index/versions), or delete the versions that do not serve.",
            param="new_embedding_version",
        )


def rename(session: Session, project: Project, previous: str) -> None:
    """The only version, if it is stored, is of the namespace's new embedding version."""
    of_project = (IndexVersion.team_id == project.team_id, IndexVersion.project_id == project.id)
    of_previous = update(IndexVersion).where(*of_project, IndexVersion.embedding_version == previous)
    session.execute(of_previous.values(embedding_version=project.embedding_version))


def _initial(project: Project) -> IndexVersion:
    """*activate* and the like are for versions that do not serve yet."""
    return IndexVersion(
        team_id=project.team_id,
        project_id=project.id,
        name=INITIAL,
        chunks_of=project.id,
        embedding_version=project.embedding_version,
        is_complete=True,
        covered_seq=project.seq,
        activate=NEVER,
        gates={},
        created_at=project.created_at,
        ready_at=project.created_at,
        activated_at=project.created_at,
    )
