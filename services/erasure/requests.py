"""Accepts erasures: checks what is asked for, hides it where that is quick, and queues the job that does the rest."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, delete, insert, select, update
from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database
from database.repeating import repeatable
from domain import JobStatus, Json
from errors import Invalid, NotFound
from event_log import record_finished
from job_queue import JobQueue
from models import ApiKey, Erasure, ErasureDoc, ErasureKind, Job, Project, Team, Webhook, utc_now
from services.erasure.hiding import Hiding
from services.erasure.indexes import ERASE
from services.erasure.ledger import ErasureLedger
from services.index.auditing import record
from services.index.mirroring import mirrors_of
from services.index.namespaces import is_listed
from services.index.publishing import Publisher
from services.ingest.deleting import parsed_filter

HIDDEN_AT_ONCE = 100
ROWS_PER_INSERT = 1000
LONGEST_REASON = 1000
MANAGE = "manage.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureRequest:
    """Exactly one of *doc_ids*, *filters* and *everything*; without *namespace*, in all of the tenant's.

    *keeps_files*: the file objects that the documents were attached from stay.
    """

    tenant_id: str
    namespace: str | None = None
    doc_ids: Sequence[str] | None = None
    filters: Json | None = None
    everything: bool = False
    keeps_files: bool = False
    reason: str | None = None
    requested_by: str = MANAGE

    @property
    def kind(self) -> ErasureKind:
        """Raises Invalid."""
        if [self.doc_ids is not None, self.filters is not None, self.everything].count(True) != 1:
            raise Invalid(
                "Send exactly one of doc_ids, filters and everything (true): what is to be erased?", param="doc_ids"
            )
        if self.filters is not None:
            parsed_filter(self.filters)
            return ErasureKind.FILTERS
        if self.doc_ids is not None and not self.doc_ids:
            raise Invalid("doc_ids is empty: nothing would be erased.", param="doc_ids")
        return ErasureKind.EVERYTHING if self.everything else ErasureKind.DOCUMENTS


@dataclass(frozen=True, slots=True)
class AcceptedErasure:
    """*job_id* is None if there is nothing that a job would have to do."""

    erasure_id: str
    job_id: str | None


@dataclass(frozen=True)
class ErasureService:
    database: Database
    queue: JobQueue
    publisher: Publisher
    hiding: Hiding
    ledger: ErasureLedger

    @repeatable
    def accept(self, request: ErasureRequest) -> AcceptedErasure:
        """Erase documents. Raises NotFound, and Invalid for a request that does not say what."""
        kind = request.kind
        self.database.make_room_to_delete()
        with self.database.write() as session:
            team = _require_team(session, request)
            projects = self._projects(session, team, request.namespace)
            if not projects:
                raise NotFound("This tenant has no namespace, so nothing to erase.", param="tenant_id")
            erasure = self._create(session, kind, request, team, projects)
            if kind is ErasureKind.DOCUMENTS:
                self._list(session, erasure, projects, list(dict.fromkeys(request.doc_ids or ())))
            return self._queued(session, erasure, projects[0])

    @repeatable
    def accept_namespace(
        self,
        tenant_id: str,
        namespace: str,
        *,
        confirmed: str,
        reason: str | None,
        requested_by: str,
        keeps_files: bool = False,
    ) -> AcceptedErasure:
        """Erase a namespace, confirmed by its name. It is gone at once, and its name is free again."""
        request = ErasureRequest(
            tenant_id=tenant_id,
            namespace=namespace,
            everything=True,
            keeps_files=keeps_files,
            reason=reason,
            requested_by=requested_by,
        )
        self.database.make_room_to_delete()
        with self.database.write() as session:
            team = _require_team(session, request)
            projects = self._projects(session, team, namespace)
            _require_confirmed("namespace", namespace, confirmed)
            of_namespace = and_(Webhook.team_id == team.id, Webhook.project_id == projects[0].id)
            session.execute(delete(Webhook).where(of_namespace))
            erasure = self._create(session, ErasureKind.NAMESPACE, request, team, projects)
            _forget_in_keys(session, team, namespace)
            _end_jobs(session, projects)
            _make_shells(session, erasure, projects)
            return self._queued(session, erasure, projects[0])

    @repeatable
    def accept_tenant(
        self, tenant_id: str, *, confirmed: str, reason: str | None, requested_by: str
    ) -> AcceptedErasure:
        """Erase a tenant with all of its namespaces and API keys, confirmed by its name. It is gone at once."""
        request = ErasureRequest(tenant_id=tenant_id, reason=reason, requested_by=requested_by, everything=True)
        self.database.make_room_to_delete()
        with self.database.write() as session:
            team = _require_team(session, request)
            _require_confirmed("tenant_id", tenant_id, confirmed)
            projects = self._projects(session, team, None)
            erasure = self._create(session, ErasureKind.TENANT, request, team, projects)
            session.execute(delete(ApiKey).where(ApiKey.team_id == team.id))
            session.execute(delete(Webhook).where(Webhook.team_id == team.id))
            _end_jobs(session, projects)
            _make_shells(session, erasure, projects)
            team.name, team.system_prompt, team.erased_at = f"erased {erasure.id}", None, utc_now()
            return self._queued(session, erasure, projects[0] if projects else None)

    def end_job(self, team_id: int, accepted: AcceptedErasure) -> None:
        """Its erasure was completed without a worker."""
        ended = {"status": JobStatus.COMPLETED, "progress": 100, "completed_at": utc_now()}
        with self.database.write() as session:
            own = update(Job).where(Job.team_id == team_id, Job.job_id == accepted.job_id)
            jobs = session.scalars(own.values(**ended).returning(Job)).all()
            record_finished(session, jobs, JobStatus.COMPLETED)

    def _projects(self, session: Session, team: Team, namespace: str | None) -> list[Project]:
        """Locked, in the order in which writers of several namespaces lock them. What comes later has a later seq."""
        query = select(Project).where(Project.team_id == team.id, is_listed())
        if namespace is not None:
            query = query.where(Project.name == namespace)
        projects = session.scalars(query.order_by(Project.name)).all()
        if namespace is not None and not projects:
            raise NotFound(f"This tenant has no namespace {namespace!r}.", param="namespace")
        return [self.publisher.next_numbers(session, project)[0] for project in projects]

    def _create(
        self, session: Session, kind: ErasureKind, request: ErasureRequest, team: Team, projects: Sequence[Project]
    ) -> Erasure:
        keys = self.ledger.name_keys(session)
        place = [keys.namespace(team.name, project.name) for project in projects]
        before = {name: project.seq for name, project in zip(place, projects, strict=True)}
        erasure = Erasure(
            id=str(uuid.uuid4()),
            team_id=team.id,
            kind=kind,
            scope={
                "tenant": keys.tenant(team.name),
                "namespace": None if request.namespace is None else place[0],
                "before": before,
                **({"keeps_files": True} if request.keeps_files else {}),
            },
            requested_by=request.requested_by,
            reason=request.reason,
            work={
                "filters": request.filters,
                "tenant_id": team.name,
                "namespaces": _places(session, projects),
                "before": {str(project.id): project.seq for project in projects},
            },
            tally={},
        )
        session.add(erasure)
        session.flush()
        return erasure

    def _list(self, session: Session, erasure: Erasure, projects: Sequence[Project], doc_ids: Sequence[str]) -> None:
        """Record the documents, and hide them now if they are few."""
        for project in projects:
            key = {"team_id": project.team_id, "erasure_id": erasure.id, "project_id": project.id}
            for batch in batched(doc_ids, ROWS_PER_INSERT):
                rows = [{**key, "doc_id": doc_id, "chunk_ranges": []} for doc_id in batch]
                session.execute(insert(ErasureDoc), rows)
            if len(doc_ids) * len(projects) <= HIDDEN_AT_ONCE:
                self.hiding.hide(session, erasure, project, doc_ids)

    def _queued(self, session: Session, erasure: Erasure, project: Project | None) -> AcceptedErasure:
        if project is not None:
            session.flush()
            erasure.job_id = self.queue.create_job(session, ERASE, {"erasure_id": erasure.id}, project=project)
        session.flush()
        tenant_id = None if erasure.kind == ErasureKind.TENANT else (erasure.work or {})["tenant_id"]
        record(session, "erasure.requested", tenant_id=tenant_id, object=erasure.id, kind=str(erasure.kind))
        return AcceptedErasure(erasure.id, erasure.job_id)


def _require_team(session: Session, request: ErasureRequest) -> Team:
    team = session.scalar(select(Team).where(Team.name == request.tenant_id, Team.erased_at.is_(None)))
    if team is None:
        raise NotFound("There is no such tenant: check tenant_id.", param="tenant_id")
    return team


def _require_confirmed(field: str, name: str, confirmed: str) -> None:
    if confirmed != name:
        raise Invalid(
            f"To erase all of it, send its name, exactly as in the URL, as confirm_{field}.", param=f"confirm_{field}"
        )


def _end_jobs(session: Session, projects: Sequence[Project]) -> None:
    """Cancel what waits, and ask what runs to stop; but for other erasures, each of which ends with its receipt."""
    for project in projects:
        of_project = (Job.team_id == project.team_id, Job.project_id == project.id, Job.type != ERASE)
        now = utc_now()
        waiting = update(Job).where(*of_project, Job.status == JobStatus.PENDING)
        cancelled = waiting.values(status=JobStatus.CANCELLED, completed_at=now, cancel_requested=True)
        record_finished(session, session.scalars(cancelled.returning(Job)).all(), JobStatus.CANCELLED)
        running = update(Job).where(*of_project, Job.status == JobStatus.RUNNING)
        session.execute(running.values(cancel_requested=True))


def _forget_in_keys(session: Session, team: Team, namespace: str) -> None:
    """A key that saw this namespace alone sees nothing then, nor a new one of its name."""
    keys = select(ApiKey).where(ApiKey.team_id == team.id, ApiKey.namespaces.is_not(None))
    for key in session.scalars(keys):
        key.namespaces = [name for name in key.namespaces or () if name != namespace]


def _places(session: Session, projects: Sequence[Project]) -> Json:
    """The names of the namespaces by id, and by the ids of their mirrors."""
    own = {str(project.id): project.name for project in projects}
    return own | {str(each.id): project.name for project in projects for each in mirrors_of(session, project)}


def _make_shells(session: Session, erasure: Erasure, projects: Sequence[Project]) -> None:
    for project in projects:
        project.name, project.erased_at = f"erased {erasure.id} {project.id}", utc_now()
        for mirror in mirrors_of(session, project):
            mirror.erased_at = mirror.erased_at or utc_now()
