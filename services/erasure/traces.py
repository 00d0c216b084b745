"""Erases what speaks of documents elsewhere: jobs, answers that are kept to be repeated, logged questions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import and_, delete, or_, select, tuple_, update
from sqlalchemy.orm import Session

from compression import plain
from database.batching import batched
from database.engine import Database
from domain import Ids, Json
from event_log import ERASED
from job_queue import FINISHED
from models import (
    AuditRow,
    Erasure,
    ErasureDoc,
    ErasureKind,
    EventRow,
    IdempotencyKey,
    IngestUsage,
    Job,
    LoggedQuery,
    QueryCitation,
    WebhookDelivery,
)
from services.erasure.steps import Steps
from services.index.auditing import erase_names

ROWS_PER_READ, ROWS_PER_STEP, NAMES_PER_QUERY = 500, 100, 500
ERASED_ANSWER = 0
"""As services/operations/idempotency.py marks an answer that is not repeated any more."""

ERASED_MESSAGE = "This message was erased with the document that it was about."
_NO_SYNC: dict[str, Any] = {"synchronize_session": False}
_WHOLE = (ErasureKind.NAMESPACE, ErasureKind.TENANT)


@dataclass(frozen=True)
class TraceRemoval:
    database: Database

    def erase_jobs(self, erasure: Erasure, project_id: int, steps: Steps) -> int:
        """Rewrite payload, result and error of ended jobs. Of an erased namespace nothing of them is kept."""
        after, count = "", 0
        while True:
            with self.database.read() as session:
                of_project = and_(Job.team_id == erasure.team_id, Job.project_id == project_id)
                is_next = and_(of_project, Job.job_id > after, Job.status.in_(FINISHED))
                jobs = session.scalars(select(Job).where(is_next).order_by(Job.job_id).limit(ROWS_PER_READ)).all()
                changes = [(job.job_id, self._rewritten(session, erasure, job)) for job in jobs]
            if not jobs:
                return count
            after = jobs[-1].job_id
            changed = [(job_id, values) for job_id, values in changes if values is not None]
            for start in range(0, len(changed), ROWS_PER_STEP):
                steps.give_way()
                with steps.step(80, dict(erasure.tally)) as session:
                    for job_id, values in changed[start : start + ROWS_PER_STEP]:
                        own = update(Job).where(Job.team_id == erasure.team_id, Job.job_id == job_id)
                        session.execute(own.values(**values), execution_options=_NO_SYNC)
            count += len(changed)

    def erase_events(self, erasure: Erasure, project_id: int, steps: Steps) -> int:
        """What events name. They keep their number, which is never given again."""
        after, count = 0, 0
        while True:
            with self.database.read() as session:
                of_team = and_(EventRow.team_id == erasure.team_id, EventRow.number > after)
                rows = session.scalars(
                    select(EventRow).where(of_team).order_by(EventRow.number).limit(ROWS_PER_READ)
                ).all()
                numbers = _events_about(session, erasure, project_id, rows)
            if not rows:
                return count
            after = rows[-1].number
            for start in range(0, len(numbers), ROWS_PER_STEP):
                steps.give_way()
                with steps.step(80, dict(erasure.tally)) as session:
                    named = numbers[start : start + ROWS_PER_STEP]
                    own = update(EventRow).where(EventRow.team_id == erasure.team_id, EventRow.number.in_(named))
                    session.execute(own.values(type=ERASED, data={}, project_id=None), execution_options=_NO_SYNC)
                    sent = update(WebhookDelivery).where(
                        WebhookDelivery.team_id == erasure.team_id, WebhookDelivery.number.in_(named)
                    )
                    session.execute(sent.values(answer_excerpt=None, error=None), execution_options=_NO_SYNC)
            count += len(numbers)

    def erase_answers(self, erasure: Erasure, steps: Steps) -> int:
        """Of the last day's keyed requests, by the names in their answers."""
        tenant_id, after, count = (erasure.work or {})["tenant_id"], "", 0
        is_tenants = or_(IdempotencyKey.tenant_id == tenant_id, IdempotencyKey.tenant_id.is_(None))
        while True:
            with self.database.read() as session:
                is_next = and_(IdempotencyKey.key > after, is_tenants, IdempotencyKey.status_code != ERASED_ANSWER)
                rows = session.scalars(
                    select(IdempotencyKey).where(is_next).order_by(IdempotencyKey.key).limit(ROWS_PER_READ)
                ).all()
                keys = [row.key for row in rows if self._is_about(session, erasure, row)]
            if not rows:
                return count
            after = rows[-1].key
            if keys:
                steps.give_way()
                nothing = {"status_code": ERASED_ANSWER, "response_body": b"", "response_headers": None}
                with steps.step(80, dict(erasure.tally)) as session:
                    erased = update(IdempotencyKey).where(IdempotencyKey.key.in_(keys)).values(**nothing)
                    session.execute(erased.values(tenant_id=None), execution_options=_NO_SYNC)
            count += len(keys)

    def erase_audit(self, erasure: Erasure, steps: Steps) -> int:
        """The names in rows of the audit log that speak of it. The rows stay, and so does their chain."""
        tenant_id, after, count = (erasure.work or {})["tenant_id"], 0, 0
        while True:
            with self.database.read() as session:
                is_next = and_(AuditRow.tenant_id == tenant_id, AuditRow.number > after)
                rows = session.scalars(
                    select(AuditRow).where(is_next).order_by(AuditRow.number).limit(ROWS_PER_READ)
                ).all()
                numbers = [row.number for row in rows if self._is_named_in(session, erasure, row)]
            if not rows:
                return count
            after = rows[-1].number
            for start in range(0, len(numbers), ROWS_PER_STEP):
                steps.give_way()
                with steps.step(80, dict(erasure.tally)) as session:
                    chosen = AuditRow.number.in_(numbers[start : start + ROWS_PER_STEP])
                    for row in session.scalars(select(AuditRow).where(chosen)):
                        erase_names(row)
                        row.tenant_id = None if erasure.kind == ErasureKind.TENANT else row.tenant_id
            count += len(numbers)

    def erase_questions(self, erasure: Erasure, project_id: int, steps: Steps) -> int:
        """Citations of erased chunks, and the text and hash of the questions that they answered; the counts stay."""
        if erasure.kind in _WHOLE:
            return self._delete_log(erasure, project_id, steps)
        ids, after, count = self._erased_ids(erasure, project_id), ("", -1), 0
        while len(ids):
            with self.database.read() as session:
                rows = session.execute(_citations(erasure.team_id, project_id, after)).all()
            if not rows:
                break
            after = (rows[-1].query_id, rows[-1].faiss_id)
            cited = [(row.query_id, row.faiss_id) for row in rows]
            is_erased = np.isin([faiss_id for _, faiss_id in cited], ids)
            hit = [key for key, is_one in zip(cited, is_erased.tolist(), strict=True) if is_one]
            for start in range(0, len(hit), ROWS_PER_STEP):
                steps.give_way()
                with steps.step(85, dict(erasure.tally)) as session:
                    _forget_questions(session, erasure.team_id, hit[start : start + ROWS_PER_STEP])
            count += len({query_id for query_id, _ in hit})
        return count

    def _delete_log(self, erasure: Erasure, project_id: int, steps: Steps) -> int:
        count = 0
        of_project = and_(LoggedQuery.team_id == erasure.team_id, LoggedQuery.project_id == project_id)
        while True:
            with self.database.read() as session:
                ids = session.scalars(select(LoggedQuery.query_id).where(of_project).limit(ROWS_PER_STEP)).all()
            if not ids:
                break
            steps.give_way()
            with steps.step(85, dict(erasure.tally)) as session:
                session.execute(delete(LoggedQuery).where(of_project, LoggedQuery.query_id.in_(ids)))
            count += len(ids)
        with steps.step(85, dict(erasure.tally)) as session:
            of_usage = and_(IngestUsage.team_id == erasure.team_id, IngestUsage.project_id == project_id)
            session.execute(delete(IngestUsage).where(of_usage))
        return count

    def _erased_ids(self, erasure: Erasure, project_id: int) -> Ids:
        with self.database.read() as session:
            of_project = and_(
                ErasureDoc.team_id == erasure.team_id,
                ErasureDoc.erasure_id == erasure.id,
                ErasureDoc.project_id == project_id,
            )
            ranges = [
                each for row in session.scalars(select(ErasureDoc.chunk_ranges).where(of_project)) for each in row
            ]
        parts = [np.arange(first, first + count, dtype=np.int64) for first, count in ranges]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _rewritten(self, session: Session, erasure: Erasure, job: Job) -> Json | None:
        """The new values of the job's columns; None: it does not speak of what is erased."""
        if erasure.kind in _WHOLE:
            is_bare = not job.payload_json and job.error is None
            kept = {name: value for name, value in (job.result_json or {}).items() if isinstance(value, int)}
            values = {"payload_json": {}, "result_json": kept, "error": job.error and ERASED_MESSAGE}
            is_own = job.job_id == erasure.job_id
            return None if is_own or (is_bare and kept == (job.result_json or {})) else values
        named = _known(session, erasure, {*_strings(job.payload_json), *_strings(job.result_json)})
        quoted = {part for quote in ("'", '"') for part in (job.error or "").split(quote)}
        if not named and not _known(session, erasure, quoted):
            return None
        result = None if job.result_json is None else _without(job.result_json, named)
        error = ERASED_MESSAGE if job.error else None
        return {"payload_json": _without(job.payload_json, named), "result_json": result, "error": error}

    def _is_about(self, session: Session, erasure: Erasure, row: IdempotencyKey) -> bool:
        if erasure.kind == ErasureKind.TENANT and row.tenant_id is not None:
            return True
        strings: set[str] = set()
        with suppress(ValueError):
            strings = set(_strings(json.loads(plain(row.response_body or b"null"))))
        return bool(_known(session, erasure, strings))

    def _is_named_in(self, session: Session, erasure: Erasure, row: AuditRow) -> bool:
        strings = {row.object, *_strings(row.details)}
        if erasure.kind == ErasureKind.NAMESPACE:
            return not strings.isdisjoint((erasure.work or {})["namespaces"].values())
        return erasure.kind == ErasureKind.TENANT or bool(_known(session, erasure, strings))


def _citations(team_id: int, project_id: int, after: tuple[str, int]) -> Any:
    of_query = and_(LoggedQuery.team_id == QueryCitation.team_id, LoggedQuery.query_id == QueryCitation.query_id)
    key = (QueryCitation.query_id, QueryCitation.faiss_id)
    query = select(*key).select_from(QueryCitation).join(LoggedQuery, of_query).where(QueryCitation.team_id == team_id)
    query = query.where(LoggedQuery.project_id == project_id, tuple_(*key) > tuple_(*after))
    return query.order_by(*key).limit(ROWS_PER_READ)


def _forget_questions(session: Session, team_id: int, cited: Sequence[tuple[str, int]]) -> None:
    key = tuple_(QueryCitation.query_id, QueryCitation.faiss_id)
    session.execute(delete(QueryCitation).where(QueryCitation.team_id == team_id, key.in_(cited)))
    questions = update(LoggedQuery).where(
        LoggedQuery.team_id == team_id, LoggedQuery.query_id.in_([query_id for query_id, _ in cited])
    )
    session.execute(questions.values(question=None, question_hash="", error=None), execution_options=_NO_SYNC)


def _events_about(session: Session, erasure: Erasure, project_id: int, rows: Sequence[EventRow]) -> list[int]:
    """Those of the project; of documents, those of the revisions that are erased, since a newer one may be there."""
    rows = [row for row in rows if row.project_id == project_id]
    if erasure.kind in _WHOLE:
        return [row.number for row in rows]
    last: dict[str, int] = {}
    of_project = and_(
        ErasureDoc.team_id == erasure.team_id,
        ErasureDoc.erasure_id == erasure.id,
        ErasureDoc.project_id == project_id,
    )
    for batch in batched(sorted({row.data["doc_id"] for row in rows if "doc_id" in row.data}), NAMES_PER_QUERY):
        named = select(ErasureDoc.doc_id, ErasureDoc.last_revision).where(of_project, ErasureDoc.doc_id.in_(batch))
        last |= {doc_id: revision or 0 for doc_id, revision in session.execute(named)}
    docs = [(row.number, row.data.get("doc_id"), row.data.get("revision", 0)) for row in rows]
    return [number for number, doc_id, revision in docs if doc_id in last and revision <= last[doc_id]]


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, names of members left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)


def _known(session: Session, erasure: Erasure, strings: set[str]) -> set[str]:
    """Those that are the ids of the erasure's documents."""
    known: set[str] = set()
    of_erasure = and_(ErasureDoc.team_id == erasure.team_id, ErasureDoc.erasure_id == erasure.id)
    of_projects = ErasureDoc.project_id.in_([int(each) for each in (erasure.work or {})["namespaces"]])
    for batch in batched(sorted(strings), NAMES_PER_QUERY):
        named = select(ErasureDoc.doc_id).where(of_erasure, of_projects, ErasureDoc.doc_id.in_(batch))
        known.update(session.scalars(named))
    return known


def _without(value: Any, names: set[str]) -> Any:
    """The JSON value without the objects in lists that name one of *names*, and without these elsewhere."""
    if isinstance(value, list):
        return [_without(each, names) for each in value if not (isinstance(each, dict) and names & set(_strings(each)))]
    if isinstance(value, dict):
        return {name: _without(each, names) for name, each in value.items()}
    return "erased" if isinstance(value, str) and value in names else value
