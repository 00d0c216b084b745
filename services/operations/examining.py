"""Examines a restored installation: verifies every partition, lets rebuilds write what is missing, and searches."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from database.engine import Database
from domain import Mode
from errors import DamagedBackup, ServiceError
from models import Chunk, Project, Team
from services.index.publishing import Publisher
from services.index.verifying import Verdict, VerifyingService
from services.search.question import Question
from services.search.searching import SearchService
from snapshot import is_live

QUERY_CHARS = 200


@dataclass(frozen=True, slots=True)
class Examination:
    """*rebuilds* are queued. *search* describes the search, or says why there was nothing to search."""

    verdicts: list[Verdict]
    rebuilds: int
    search: str


@dataclass(frozen=True)
class ExaminingService:
    database: Database
    verifying: VerifyingService
    publisher: Publisher
    searching: SearchService

    def examine(self, mode: Mode) -> Examination:
        """Raises DamagedBackup."""
        verdicts = list(self.verifying.verify())
        for verdict in verdicts:
            if verdict.problems:
                place = f"{verdict.tenant_id}/{verdict.namespace}"
                raise DamagedBackup(f"verify finds a problem in the restored {place}: {verdict.problems[0]}")
        return Examination(verdicts, self._request_rebuilds(verdicts), self._search(mode))

    def _request_rebuilds(self, verdicts: list[Verdict]) -> int:
        places = [(each.tenant_id, each.namespace) for each in verdicts if each.unwritten]
        with self.database.write() as session:
            for tenant_id, namespace in places:
                query = select(Project).join(Team, Team.id == Project.team_id)
                project = session.scalars(query.where(Team.name == tenant_id, Project.name == namespace)).one()
                self.publisher.request_rebuild(session, project)
        return len(places)

    def _search(self, mode: Mode) -> str:
        """For a text of the largest namespace. Where the model cannot be had here, by words alone."""
        with self.database.read() as session:
            largest = select(Team.name, Project).join(Project, Project.team_id == Team.id)
            row = session.execute(
                largest.where(Project.live_chunks > 0, Project.mirror_of.is_(None)).order_by(Project.live_chunks.desc())
            ).first()
            if row is None:
                return "no namespace has documents to search"
            tenant_id, project = row
            in_project = (Chunk.team_id == project.team_id, Chunk.project_id == project.id, is_live(project.seq))
            text = session.scalars(select(Chunk.text).where(*in_project).limit(1)).one()
        query = text[:QUERY_CHARS]
        try:
            answer, used = self.searching.search(Question(tenant_id, project.name, query, 10, mode=mode)), mode
        except ServiceError:
            used = "keyword"
            answer = self.searching.search(Question(tenant_id, project.name, query, 10, mode=used))
        if not answer.passages:
            raise DamagedBackup(f"A {used} search of the restored {tenant_id}/{project.name} returns nothing.")
        return f"a {used} search of {tenant_id}/{project.name} returns {len(answer.passages)} passages"
