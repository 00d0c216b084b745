"""Erases again in a restored database: what its ledger's copy says was erased after the backup was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from database.engine import Database
from domain import Json
from errors import DamagedBackup, Invalid
from models import Doc, Erasure, ErasureKind, Project, Team
from services.erasure.erasing import ErasingService
from services.erasure.ledger import ErasureLedger
from services.erasure.names import NameKeys, as_keys
from services.erasure.receipts import verify_ledger
from services.erasure.requests import AcceptedErasure, ErasureRequest, ErasureService
from services.index.namespaces import is_listed

DOCS_PER_REQUEST = 1000


@dataclass(frozen=True)
class ErasureReplayer:
    """No worker runs on the database: what is accepted is completed here."""

    database: Database
    requests: ErasureService
    erasing: ErasingService
    ledger: ErasureLedger

    def erase_again(self, ledger: Json, *, backup_id: str) -> int:
        """Returns how many erasures were applied. Raises DamagedBackup for a ledger that was changed."""
        try:
            verify_ledger(ledger)
        except Invalid as error:
            raise DamagedBackup(f"The ledger of erasures beside the backup is damaged: {error}") from error
        keys = NameKeys(bytes.fromhex(ledger["hmac_key"]))
        with self.database.read() as session:
            known = {row.id: row for row in session.scalars(select(Erasure))}
        self.ledger.adopt(ledger)
        by = f"restore of backup {backup_id}"
        return sum(self._apply(entry, known.get(entry["id"]), keys, by) for entry in ledger["erasures"])

    def _apply(self, entry: Json, own: Erasure | None, keys: NameKeys, by: str) -> bool:
        """Whether there was anything to do. One that the backup caught in the middle, as *own*, is completed."""
        with self.database.read() as session:
            team = next(
                (t for t in session.scalars(select(Team)) if keys.tenant(t.name) == entry["scope"]["tenant"]), None
            )
        if own is not None:
            if own.receipt is None:
                self.erasing.run((own.team_id, own.id))
            return own.receipt is None
        if team is None:
            return False
        common = {"reason": f"erasure {entry['id']}", "requested_by": by}
        if entry["kind"] == ErasureKind.TENANT:
            self._complete(team.id, self.requests.accept_tenant(team.name, confirmed=team.name, **common))
            return True
        return any(
            [self._apply_to(team, project, entry, keys, common) for project in self._projects(team, entry, keys)]
        )

    def _apply_to(self, team: Team, project: Project, entry: Json, keys: NameKeys, common: Any) -> bool:
        if entry["kind"] == ErasureKind.NAMESPACE:
            keeps_files = entry["scope"].get("keeps_files", False)
            accepted = self.requests.accept_namespace(
                team.name, project.name, confirmed=project.name, keeps_files=keeps_files, **common
            )
            self._complete(team.id, accepted)
            return True
        place = {"tenant_id": team.name, "namespace": project.name, **common}
        if entry["doc_keys"] is None:
            self._complete(team.id, self.requests.accept(ErasureRequest(**place, everything=True)))
            return True
        names = set(as_keys(bytes.fromhex(entry["doc_keys"])))
        with self.database.read() as session:
            in_project = select(Doc.doc_id).where(Doc.team_id == project.team_id, Doc.project_id == project.id)
            doc_ids = [d for d in session.scalars(in_project) if keys.document(team.name, project.name, d) in names]
        for start in range(0, len(doc_ids), DOCS_PER_REQUEST):
            some = doc_ids[start : start + DOCS_PER_REQUEST]
            self._complete(team.id, self.requests.accept(ErasureRequest(**place, doc_ids=some)))
        return bool(doc_ids)

    def _complete(self, team_id: int, accepted: AcceptedErasure) -> None:
        self.erasing.run((team_id, accepted.erasure_id))
        self.requests.end_job(team_id, accepted)

    def _projects(self, team: Team, entry: Json, keys: NameKeys) -> list[Project]:
        """Those that the erasure reached; every document in them is older than it."""
        reached = entry["scope"]["before"]
        with self.database.read() as session:
            projects = session.scalars(select(Project).where(Project.team_id == team.id, is_listed()))
            return [project for project in projects if keys.namespace(team.name, project.name) in reached]
