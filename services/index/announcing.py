"""Events about documents, in the transaction that makes them true. A mirror's documents are its namespace's."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from domain import EventType, Json
from event_log import LONGEST_ERROR, record_events
from models import Doc, Project, Revision


def record_indexed(session: Session, project: Project, revisions: Sequence[Revision]) -> None:
    """Searches find these revisions from now on, or find them as they are now described."""
    data: list[Json] = [
        {
            "doc_id": revision.doc_id,
            "revision": revision.revision,
            "seq": project.seq,
            "chunks": revision.chunk_count,
            "job_id": revision.job_id,
        }
        for revision in revisions
    ]
    _record(session, project, EventType.DOCUMENT_INDEXED, data)


def record_deleted(session: Session, project: Project, docs: Sequence[Doc]) -> None:
    """No search finds these documents from now on."""
    _record(session, project, EventType.DOCUMENT_DELETED, [{"doc_id": doc.doc_id, "seq": project.seq} for doc in docs])


def record_failed(session: Session, revisions: Sequence[Revision], error: str) -> None:
    """These revisions, of any projects, will not be published."""
    failed: dict[tuple[int, int], list[Json]] = {}
    for revision in revisions:
        data = {"doc_id": revision.doc_id, "revision": revision.revision, "job_id": revision.job_id}
        of_project = failed.setdefault((revision.team_id, revision.project_id), [])
        of_project.append({**data, "error": error[:LONGEST_ERROR]})
    for (team_id, project_id), events in failed.items():
        record_events(session, EventType.DOCUMENT_FAILED, team_id=team_id, project_id=project_id, data=events)


def _record(session: Session, project: Project, type: EventType, data: list[Json]) -> None:
    if project.mirror_of is None:
        record_events(session, type, team_id=project.team_id, project_id=project.id, data=data)
