"""The state of deliveries: whose turn it is, what is due, and how a try ended. The log of events is the outbox.

One process at a time serves a webhook, under a lease, and every write of it holds only while it has that lease. What it
sends and then cannot record, because it died, the next one sends again, with the same id.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.orm import Session

from database.dialects import epoch_now
from database.engine import Database
from domain import DeliveryStatus, EventType, Json
from event_log import ERASED, record_events
from models import (
    DisabledBecause,
    EventRow,
    Project,
    Team,
    Webhook,
    WebhookDelivery,
    utc_now,
)
from services.events.horizon import Horizon
from services.index.auditing import record
from times import shifted

EVENTS_PER_STEP = 200
CANDIDATES = 20
ROWS_PER_PRUNE = 1000
LONGEST_FAILING = timedelta(days=5)
_NO_SYNC: dict[str, Any] = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class HookClaim:
    """A webhook that this process serves now, as it was then. *position*: events up to there have their deliveries."""

    team_id: int
    webhook_id: str
    holder: str
    project_id: int | None
    url: str
    events: frozenset[str] | None
    secrets: tuple[str, ...]
    position: int
    failing_since: datetime | None

    def wants(self, event: EventRow) -> bool:
        if event.type == EventType.WEBHOOK_TEST:
            return bool(event.data.get("webhook_id") == self.webhook_id)
        is_chosen = event.type != ERASED if self.events is None else event.type in self.events
        return is_chosen and self.project_id in (None, event.project_id)


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """*event* is None if it was erased, or is not kept any more."""

    number: int
    attempts: int
    event: EventRow | None
    tenant_id: str
    namespace: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TryOutcome:
    """How a try ended. *pause_seconds*: until the next one, if the delivery stays pending."""

    status: DeliveryStatus
    pause_seconds: float = 0.0
    is_gone: bool = False
    answer_status: int | None = None
    answer_excerpt: str | None = None
    error: str | None = None

    @property
    def is_failure(self) -> bool:
        return self.error is not None


@dataclass(frozen=True)
class HookOutbox:
    """A lease lasts *lease_seconds*, which is longer than a try takes."""

    database: Database
    horizon: Horizon
    lease_seconds: float

    def is_used(self) -> bool:
        with self.database.read() as session:
            return session.scalar(select(Webhook.id).where(Webhook.disabled_at.is_(None)).limit(1)) is not None

    def claim(self, until: int, *, are_failing: bool) -> HookClaim | None:
        """A webhook that has something to do, events up to *until* considered: the one that waits longest for a turn.

        One that fails gets new events only when its next try is due.
        """
        condition = _has_work(until, are_failing=are_failing)
        with self.database.read() as session:
            waiting = select(Webhook.team_id, Webhook.id).where(condition)
            candidates = session.execute(waiting.order_by(Webhook.served_at).limit(CANDIDATES)).all()
        for team_id, webhook_id in candidates:
            lease = {"holder": uuid.uuid4().hex, "lease_until": epoch_now() + self.lease_seconds}
            own = and_(Webhook.team_id == team_id, Webhook.id == webhook_id, condition)
            taking = update(Webhook).where(own).values(served_at=epoch_now(), **lease).returning(Webhook)
            with self.database.write() as session:
                hook = session.scalar(taking, execution_options=_NO_SYNC)
                if hook is not None:
                    return _claim(hook)
        return None

    def take_events(self, claim: HookClaim, position: int) -> int | None:
        """Make deliveries of the next events after *position*. Returns how far it came; None: the lease is lost."""
        until = self.horizon.advance()
        with self.database.read() as session:
            is_next = and_(EventRow.team_id == claim.team_id, EventRow.number > position, EventRow.number <= until)
            query = select(EventRow).where(is_next).order_by(EventRow.number).limit(EVENTS_PER_STEP)
            events = session.scalars(query).all()
        if not events:
            return position
        with self.database.write() as session:
            moved = {"position": events[-1].number, "lease_until": epoch_now() + self.lease_seconds}
            held = _held(claim, Webhook.position == position).values(**moved)
            if session.scalar(held.returning(Webhook.id), execution_options=_NO_SYNC) is None:
                return None
            _add_deliveries(session, claim, [event.number for event in events if claim.wants(event)])
        return events[-1].number

    def due(self, claim: HookClaim, *, limit: int) -> list[DueDelivery]:
        """The deliveries whose time has come, in the order in which they are tried."""
        of_hook = and_(WebhookDelivery.team_id == claim.team_id, WebhookDelivery.webhook_id == claim.webhook_id)
        event = and_(EventRow.team_id == WebhookDelivery.team_id, EventRow.number == WebhookDelivery.number)
        project = and_(Project.team_id == EventRow.team_id, Project.id == EventRow.project_id)
        query = select(WebhookDelivery.number, WebhookDelivery.attempts, EventRow, Team.name, Project.name)
        query = query.join(Team, Team.id == WebhookDelivery.team_id).outerjoin(EventRow, event)
        query = query.outerjoin(Project, project).where(of_hook, WebhookDelivery.due_at <= epoch_now())
        with self.database.read() as session:
            rows = session.execute(query.order_by(WebhookDelivery.due_at, WebhookDelivery.number).limit(limit)).all()
        return [
            DueDelivery(number, attempts, None if row is None or row.type == ERASED else row, tenant_id, namespace)
            for number, attempts, row, tenant_id, namespace in rows
        ]

    def note(self, claim: HookClaim, delivery: DueDelivery, outcome: TryOutcome) -> bool:
        """Record how a try ended. Returns False if the webhook is not this process's to serve any more."""
        now = utc_now()
        values: Json = {"lease_until": epoch_now() + self.lease_seconds, "last_error": outcome.error}
        values["failing_since"] = func.coalesce(Webhook.failing_since, now) if outcome.is_failure else None
        if outcome.status == DeliveryStatus.DROPPED:
            values = {"lease_until": values["lease_until"]}
        with self.database.write() as session:
            held = _held(claim, Webhook.disabled_at.is_(None)).values(**values).returning(Webhook)
            hook = session.scalar(held, execution_options=_NO_SYNC)
            if hook is None:
                return False
            _write(session, claim, delivery, outcome)
            if outcome.is_gone:
                _disable(session, hook, DisabledBecause.GONE)
            elif hook.failing_since is not None and hook.failing_since <= now - LONGEST_FAILING:
                _disable(session, hook, DisabledBecause.FAILING)
            return hook.disabled_at is None

    def release(self, claim: HookClaim, *, hold_seconds: float) -> None:
        """End the turn. Nothing is tried for *hold_seconds*."""
        of_hook = and_(WebhookDelivery.team_id == claim.team_id, WebhookDelivery.webhook_id == claim.webhook_id)
        with self.database.write() as session:
            due_at = session.scalar(select(func.min(WebhookDelivery.due_at)).where(of_hook))
            if due_at is not None and hold_seconds:
                due_at = max(due_at, _now(session) + hold_seconds)
            ended = _held(claim).values(lease_until=None, holder=None, due_at=due_at)
            session.execute(ended, execution_options=_NO_SYNC)

    def oldest_needed(self) -> int | None:
        """The oldest event that a webhook has not had yet; None: each has had all."""
        is_new = and_(EventRow.team_id == Webhook.team_id, EventRow.number > Webhook.position)
        of_hook = and_(WebhookDelivery.team_id == Webhook.team_id, WebhookDelivery.webhook_id == Webhook.id)
        next_event = select(func.min(EventRow.number)).where(is_new).correlate(Webhook).scalar_subquery()
        pending = select(func.min(WebhookDelivery.number)).where(of_hook, WebhookDelivery.due_at.is_not(None))
        query = select(next_event, pending.correlate(Webhook).scalar_subquery()).where(Webhook.disabled_at.is_(None))
        with self.database.read() as session:
            numbers = [number for row in session.execute(query) for number in row if number is not None]
        return min(numbers, default=None)

    def prune(self, keep_days: float) -> int:
        """Delete deliveries that ended and were made more than *keep_days* ago, in small steps."""
        is_old = and_(
            WebhookDelivery.due_at.is_(None), WebhookDelivery.created_at < shifted(utc_now(), days=-keep_days)
        )
        key = (WebhookDelivery.team_id, WebhookDelivery.webhook_id, WebhookDelivery.number)
        count = 0
        with self.database.read() as session:
            hooks = session.execute(select(Webhook.team_id, Webhook.id)).all()
        for team_id, webhook_id in hooks:
            of_hook = and_(key[0] == team_id, key[1] == webhook_id, is_old)
            with self.database.read() as session:
                oldest = session.scalars(select(key[2]).where(of_hook).order_by(key[2]).limit(ROWS_PER_PRUNE)).all()
            if oldest:
                with self.database.write() as session:
                    result = session.execute(delete(WebhookDelivery).where(of_hook, key[2] <= oldest[-1]))
                    assert isinstance(result, CursorResult)
                    count += result.rowcount
        return count


def make_due(session: Session, team_id: int, webhook_id: str, which: ColumnElement[bool]) -> int:
    """Let deliveries begin anew. Returns how many."""
    of_hook = and_(WebhookDelivery.team_id == team_id, WebhookDelivery.webhook_id == webhook_id, which)
    pending = {"status": DeliveryStatus.PENDING, "attempts": 0, "due_at": epoch_now()}
    result = session.execute(update(WebhookDelivery).where(of_hook).values(**pending), execution_options=_NO_SYNC)
    own = and_(Webhook.team_id == team_id, Webhook.id == webhook_id)
    session.execute(update(Webhook).where(own).values(due_at=epoch_now()), execution_options=_NO_SYNC)
    assert isinstance(result, CursorResult)
    return result.rowcount


def _has_work(until: int, *, are_failing: bool) -> ColumnElement[bool]:
    is_new = and_(EventRow.team_id == Webhook.team_id, EventRow.number > Webhook.position, EventRow.number <= until)
    takes_new = Webhook.due_at.is_(None) if are_failing else Webhook.id.is_not(None)
    return and_(
        Webhook.disabled_at.is_(None),
        Webhook.failing_since.is_not(None) if are_failing else Webhook.failing_since.is_(None),
        or_(Webhook.lease_until.is_(None), Webhook.lease_until < epoch_now()),
        or_(Webhook.due_at <= epoch_now(), and_(takes_new, exists().where(is_new))),
    )


def _claim(hook: Webhook) -> HookClaim:
    is_in_overlap = hook.previous_until is not None and hook.previous_until > utc_now()
    previous = (hook.previous_secret,) if is_in_overlap and hook.previous_secret is not None else ()
    assert hook.holder is not None
    return HookClaim(
        team_id=hook.team_id,
        webhook_id=hook.id,
        holder=hook.holder,
        project_id=hook.project_id,
        url=hook.url,
        events=None if hook.events is None else frozenset(hook.events),
        secrets=(hook.secret, *previous),
        position=hook.position,
        failing_since=hook.failing_since,
    )


def _held(claim: HookClaim, *conditions: ColumnElement[bool]) -> Any:
    own = and_(Webhook.team_id == claim.team_id, Webhook.id == claim.webhook_id, Webhook.holder == claim.holder)
    return update(Webhook).where(own, *conditions)


def _add_deliveries(session: Session, claim: HookClaim, numbers: list[int]) -> None:
    """Those that are there already, since somebody wants events once more, are due already."""
    of_hook = {"team_id": claim.team_id, "webhook_id": claim.webhook_id}
    there = select(WebhookDelivery.number).where(
        WebhookDelivery.team_id == claim.team_id,
        WebhookDelivery.webhook_id == claim.webhook_id,
        WebhookDelivery.number.in_(numbers),
    )
    new = sorted(set(numbers) - set(session.scalars(there)))
    if new:
        due = {"status": DeliveryStatus.PENDING, "due_at": _now(session)}
        session.execute(insert(WebhookDelivery), [{**of_hook, **due, "number": number} for number in new])


def _write(session: Session, claim: HookClaim, delivery: DueDelivery, outcome: TryOutcome) -> None:
    is_pending = outcome.status == DeliveryStatus.PENDING
    session.execute(
        update(WebhookDelivery)
        .where(
            WebhookDelivery.team_id == claim.team_id,
            WebhookDelivery.webhook_id == claim.webhook_id,
            WebhookDelivery.number == delivery.number,
        )
        .values(
            status=outcome.status,
            attempts=WebhookDelivery.attempts + int(outcome.status != DeliveryStatus.DROPPED),
            due_at=epoch_now() + outcome.pause_seconds if is_pending else None,
            attempted_at=utc_now(),
            answer_status=outcome.answer_status,
            answer_excerpt=outcome.answer_excerpt,
            error=outcome.error,
        ),
        execution_options=_NO_SYNC,
    )


def _disable(session: Session, hook: Webhook, because: DisabledBecause) -> None:
    hook.disabled_at, hook.disabled_because = utc_now(), because
    hook.lease_until = hook.holder = None
    data: Json = {"webhook_id": hook.id, "because": because}
    record_events(session, EventType.WEBHOOK_DISABLED, team_id=hook.team_id, project_id=hook.project_id, data=[data])
    session.flush()
    tenant_id = session.scalar(select(Team.name).where(Team.id == hook.team_id))
    record(session, "webhook.disabled", tenant_id=tenant_id, object=hook.id, because=because)


def _now(session: Session) -> float:
    return session.scalars(select(epoch_now())).one()
