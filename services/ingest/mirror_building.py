"""Writes into a mirror the documents that it lacks, step by step: the first part of building an index version.

Their chunks have no vectors yet. The mirror is not searched until it has all of them, and until then writes to the
namespace cost nothing more: what is published meanwhile is what the next look finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from database.engine import Database
from domain import Json, Mirror
from errors import Invalid
from job_lease import Lease
from models import Doc, Project, Revision
from services.index.mirroring import behind
from services.index.publishing import Publisher
from services.ingest.recutting import Recutting

DOCS_PER_STEP, CHUNKS_PER_STEP = 32, 64


@dataclass(frozen=True)
class MirrorBuilding:
    database: Database
    publisher: Publisher
    recutting: Recutting

    def catch_up(self, lease: Lease, namespace: Project, mirror: Mirror, result: Json) -> int:
        """Walk the documents until a walk finds none behind. Returns the seq of the namespace at that moment."""
        after = ""
        while True:
            seq, revisions = self._next(namespace, mirror, after)
            if not revisions and not after:
                return seq
            after = revisions[-1].doc_id if revisions else ""
            if revisions:
                self._write(lease, namespace, mirror, revisions, result)
                lease.give_way()

    def _write(
        self, lease: Lease, namespace: Project, mirror: Mirror, revisions: Sequence[Revision], result: Json
    ) -> None:
        """Those that still are what was cut."""
        cut = self.recutting.of_revisions(lease, mirror, revisions)
        with lease.step(1, result) as session:
            current, _ = self.publisher.next_numbers(session, namespace)
            of_docs = Revision.doc_id.in_([revision.doc_id for revision in revisions])
            still = session.scalars(behind(current, mirror.id).where(of_docs)).all()
            same = {each.doc_id: each for each in still if _state(each) in set(map(_state, revisions))}
            if mirror.id not in {each.id for each in current.all_mirrors}:
                raise Invalid("The version was deleted while it was built.")
            if same:
                docs = [session.get_one(Doc, (*_place(current), doc_id)) for doc_id in same]
                rows = {doc_id: cut.docs[doc_id] for doc_id in same}
                self.publisher.mirror(session, current, mirror.id, docs, list(same.values()), rows)

    def _next(self, namespace: Project, mirror: Mirror, after: str) -> tuple[int, list[Revision]]:
        """The next documents that fit a step, with their texts; a large one is a step of its own."""
        with self.database.read() as session:
            seq = session.get_one(Project, _place(namespace)).seq
            query = behind(namespace, mirror.id).where(Doc.doc_id > after).order_by(Doc.doc_id).limit(DOCS_PER_STEP)
            revisions = session.scalars(query).all()
        chosen: list[Revision] = []
        for revision in revisions:
            if chosen and sum(each.chunk_count for each in chosen) + revision.chunk_count > CHUNKS_PER_STEP:
                break
            chosen.append(revision)
        return seq, chosen


def _state(revision: Revision) -> tuple[str, int, int | None]:
    return revision.doc_id, revision.revision, revision.published_seq


def _place(project: Project) -> tuple[int, int]:
    return project.team_id, project.id
