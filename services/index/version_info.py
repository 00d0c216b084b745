"""What is said of an index version: its state, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from domain import Json
from job_queue import FINISHED
from models import EmbeddingVersion, IndexVersion, Job, Project, utc_now
from services.index.version_rows import is_serving, mirror_of_row

SHADOW_MEANS = ("overlap", "jaccard", "rbo", "top1_agreement", "empty", "ms")


class VersionState(StrEnum):
    """building -> ready -> active -> retired; a retired one goes on following writes. Back to building if it lags."""

    BUILDING = "building"
    READY = "ready"
    ACTIVE = "active"
    RETIRED = "retired"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionInfo:
    """A version as its namespace is at *seq*. *lag* counts the publications that it lacks; *bytes* are of its vectors.

    *chunking* is None if it indexes the namespace's own chunks, and *chunks* counts those that it indexes. *progress*
    and *seconds_left* are its job's, while it is building.
    """

    name: str
    state: VersionState
    embedding_version: str
    model: str
    query_prompt: str | None
    document_prompt: str | None
    dimension: int
    seq: int
    covered_seq: int
    vectors: int
    chunks: int
    chunking: Json | None
    job_id: str | None
    progress: int | None
    seconds_left: int | None
    problem: str | None
    activate: str
    gates: Json
    figures: Json | None
    shadow: Json | None
    created_at: datetime
    ready_at: datetime | None
    activated_at: datetime | None
    retired_at: datetime | None

    @property
    def lag(self) -> int:
        return self.seq - self.covered_seq

    @property
    def bytes(self) -> int:
        return 4 * self.dimension * self.vectors


def info_of(session: Session, project: Project, row: IndexVersion) -> VersionInfo:
    model = session.get_one(EmbeddingVersion, row.embedding_version)
    job: Job | None = None if row.is_complete else job_of(session, row)
    state = state_of(session, project, row)
    done = (job.chunks_done if job is not None else None) or 0
    mirror = mirror_of_row(project, row)
    indexed = project if mirror is None else session.get_one(Project, (project.team_id, mirror.id))
    info = VersionInfo(
        name=row.name,
        state=state,
        embedding_version=row.embedding_version,
        model=model.model,
        query_prompt=model.query_prompt,
        document_prompt=model.document_prompt,
        dimension=model.dimension,
        seq=project.seq,
        covered_seq=project.seq if row.is_complete else row.covered_seq,
        vectors=indexed.live_chunks if row.is_complete else done,
        chunks=indexed.live_chunks,
        chunking=None if mirror is None else mirror.chunking,
        job_id=row.job_id,
        progress=None,
        seconds_left=None,
        problem=row.problem,
        activate=row.activate,
        gates=row.gates,
        figures=row.figures,
        shadow=shadow_figures(project, row),
        created_at=row.created_at,
        ready_at=row.ready_at,
        activated_at=row.activated_at,
        retired_at=row.retired_at,
    )
    if job is None or not is_building(job):
        return info if job is None else replace(info, problem=row.problem or job.error)
    return replace(info, progress=job.progress, seconds_left=job.seconds_left)


def shadow_figures(project: Project, row: IndexVersion) -> Json | None:
    """The means over the live searches that the version was asked, too."""
    if row.shadow is None:
        return None
    sums, running = row.shadow["sums"], project.shadow
    queries = sums.get("queries", 0)
    means = {name: sums.get(name, 0) / queries if queries else None for name in SHADOW_MEANS}
    counts = {name: int(sums.get(name, 0)) for name in ("queries", "dropped", "failed")}
    until = datetime.fromtimestamp(row.shadow["until"], UTC)
    is_running = running is not None and running["name"] == row.name and until > utc_now()
    return {"share": row.shadow["share"], "until": until.isoformat(), "is_running": is_running, **counts, **means}


def state_of(session: Session, project: Project, row: IndexVersion) -> VersionState:
    if is_serving(project, row):
        return VersionState.ACTIVE
    if row.is_complete:
        return VersionState.READY if row.retired_at is None else VersionState.RETIRED
    return VersionState.BUILDING if is_building(job_of(session, row)) else VersionState.FAILED


def job_of(session: Session, row: IndexVersion) -> Job | None:
    return None if row.job_id is None else session.get(Job, (row.team_id, row.job_id))


def is_building(job: Job | None) -> bool:
    return job is not None and job.status not in FINISHED
