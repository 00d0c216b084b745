"""The verbs of webhooks: create, look at, change, rotate, test, replay, delete. A secret is shown when it is made."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from database.engine import Database
from database.repeating import repeatable
from domain import DeliveryStatus, EventType, Json
from engines.web.poster import Poster
from errors import Conflict, NotFound
from event_log import record_events
from models import DisabledBecause, EventRow, Project, Team, Webhook, WebhookDelivery, utc_now
from services.events.reading import EventReader
from services.index import namespaces
from services.index.auditing import record
from services.webhooks.delivering import message_id
from services.webhooks.outbox import make_due
from services.webhooks.signing import new_secret
from times import shifted

MOST_WEBHOOKS = 50
OwnedWebhook = tuple[Webhook, str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookInfo:
    """*status* is active, failing or disabled. *events* are types; None: all."""

    webhook_id: str
    tenant_id: str
    namespace: str | None
    url: str
    events: list[str] | None
    status: str
    disabled_because: str | None
    failing_since: datetime | None
    last_error: str | None
    previous_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret(WebhookInfo):
    """*secret* cannot be read again later."""

    secret: str


@dataclass(frozen=True, slots=True)
class WebhookChange:
    """None: stays as it is. *events*: an empty list means all."""

    url: str | None = None
    events: Sequence[EventType] | None = None
    is_enabled: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryInfo:
    """How the last try went. *type* is None if the event is not there any more."""

    event_id: str
    message_id: str | None
    type: str | None
    status: str
    attempts: int
    next_attempt_at: datetime | None
    attempted_at: datetime | None
    answer_status: int | None
    answer_excerpt: str | None
    error: str | None
    created_at: datetime


@dataclass(frozen=True)
class WebhookService:
    """With *tenant_id*, webhooks of other tenants do not exist."""

    database: Database
    reader: EventReader
    poster: Poster

    def create(self, tenant_id: str, *, url: str, events: Sequence[EventType], namespace: str | None) -> NewSecret:
        """It gets what happens from now on. Raises Invalid for a URL that must not be called."""
        self.poster.check(url)
        position = self.reader.horizon.now()
        with self.database.write() as session:
            team = namespaces.require_team(session, tenant_id, for_update=True)
            project = namespaces.require(session, tenant_id, namespace) if namespace is not None else None
            count = session.scalar(select(func.count()).select_from(Webhook).where(Webhook.team_id == team.id)) or 0
            if count >= MOST_WEBHOOKS:
                raise Conflict(f"A tenant has at most {MOST_WEBHOOKS} webhooks: delete one first.")
            hook = Webhook(
                team_id=team.id,
                id=f"wh_{secrets.token_hex(8)}",
                project_id=None if project is None else project.id,
                url=url,
                events=_types(events),
                secret=new_secret(),
                position=position,
            )
            session.add(hook)
            session.flush()
            _audit(session, "created", tenant_id, hook)
        return NewSecret(**_fields((hook, tenant_id, namespace)), secret=hook.secret)

    @repeatable
    def page(self, *, tenant_id: str | None, limit: int, after: str | None) -> list[WebhookInfo]:
        query = _webhooks(tenant_id).where(Webhook.id > (after or "")).order_by(Webhook.id).limit(limit)
        with self.database.read() as session:
            return [WebhookInfo(**_fields(tuple(row))) for row in session.execute(query)]

    @repeatable
    def get(self, webhook_id: str, *, tenant_id: str | None) -> WebhookInfo:
        with self.database.read() as session:
            return WebhookInfo(**_fields(_require(session, webhook_id, tenant_id)))

    def update(self, webhook_id: str, change: WebhookChange, *, tenant_id: str | None) -> WebhookInfo:
        """Enabling it again lets it get what happens from now on, and what was pending."""
        if change.url is not None:
            self.poster.check(change.url)
        position = self.reader.horizon.now()
        with self.database.write() as session:
            owned = _require(session, webhook_id, tenant_id, for_update=True)
            hook = owned[0]
            hook.url = hook.url if change.url is None else change.url
            hook.events = hook.events if change.events is None else _types(change.events)
            if change.is_enabled is False and hook.disabled_at is None:
                hook.disabled_at, hook.disabled_because = utc_now(), DisabledBecause.REQUESTED
            if change.is_enabled is True and hook.disabled_at is not None:
                hook.disabled_at = hook.disabled_because = hook.failing_since = hook.last_error = None
                hook.position, hook.due_at = max(hook.position, position), 0.0
            hook.updated_at = utc_now()
            _audit(session, "updated", owned[1], hook, enabled=hook.disabled_at is None)
            return WebhookInfo(**_fields(owned))

    def delete(self, webhook_id: str, *, tenant_id: str | None) -> WebhookInfo:
        """With its deliveries, also those that wait. Returns what it was."""
        with self.database.write() as session:
            owned = _require(session, webhook_id, tenant_id, for_update=True)
            info = WebhookInfo(**_fields(owned))
            session.delete(owned[0])
            _audit(session, "deleted", owned[1], owned[0])
            return info

    def rotate(self, webhook_id: str, *, overlap_seconds: float, tenant_id: str | None) -> NewSecret:
        """Make a new secret. For *overlap_seconds* deliveries are signed with both."""
        with self.database.write() as session:
            owned = _require(session, webhook_id, tenant_id, for_update=True)
            hook = owned[0]
            hook.previous_secret, hook.previous_until = hook.secret, shifted(utc_now(), seconds=overlap_seconds)
            hook.secret, hook.updated_at = new_secret(), utc_now()
            _audit(session, "rotated", owned[1], hook, previous_until=hook.previous_until.isoformat())
            return NewSecret(**_fields(owned), secret=hook.secret)

    def send_test(self, webhook_id: str, *, tenant_id: str | None) -> WebhookInfo:
        """Record an event for this webhook alone, whatever types it gets."""
        with self.database.write() as session:
            owned = _require(session, webhook_id, tenant_id)
            hook = _require_enabled(owned[0])
            data: list[Json] = [{"webhook_id": hook.id}]
            record_events(session, EventType.WEBHOOK_TEST, team_id=hook.team_id, project_id=hook.project_id, data=data)
            return WebhookInfo(**_fields(owned))

    @repeatable
    def deliveries(
        self, webhook_id: str, *, tenant_id: str | None, status: DeliveryStatus | None, limit: int, after: int | None
    ) -> list[DeliveryInfo]:
        """The newest event first, from before the event *after*."""
        with self.database.read() as session:
            hook, _, _ = _require(session, webhook_id, tenant_id)
            event = and_(EventRow.team_id == WebhookDelivery.team_id, EventRow.number == WebhookDelivery.number)
            query = select(WebhookDelivery, EventRow).outerjoin(EventRow, event)
            query = query.where(WebhookDelivery.team_id == hook.team_id, WebhookDelivery.webhook_id == hook.id)
            query = query if status is None else query.where(WebhookDelivery.status == status)
            query = query if after is None else query.where(WebhookDelivery.number < after)
            rows = session.execute(query.order_by(WebhookDelivery.number.desc()).limit(limit)).all()
        return [_delivery_info(delivery, row) for delivery, row in rows]

    def replay(
        self, webhook_id: str, *, tenant_id: str | None, event_id: int | None = None, after: int | None = None
    ) -> WebhookInfo:
        """Deliver once more: an event, all that the webhook gets after one, or all that have failed.

        Raises NotFound, Gone if events after *after* are not kept any more, and Conflict if it is disabled.
        """
        if after is not None:
            self.reader.require_kept(after)
        with self.database.write() as session:
            owned = _require(session, webhook_id, tenant_id, for_update=True)
            hook = _require_enabled(owned[0])
            count = make_due(session, hook.team_id, hook.id, _chosen(event_id, after))
            if event_id is not None and not count:
                raise NotFound(f"This webhook has no delivery of an event {event_id}.", param="event_id")
            if after is not None:
                hook.position = min(hook.position, after)
            _audit(session, "replayed", owned[1], hook, event_id=event_id, after=after)
            return WebhookInfo(**_fields(owned))


def _chosen(event_id: int | None, after: int | None) -> ColumnElement[bool]:
    if event_id is not None:
        return WebhookDelivery.number == event_id
    return WebhookDelivery.status == DeliveryStatus.FAILED if after is None else WebhookDelivery.number > after


def _types(events: Sequence[EventType]) -> list[str] | None:
    return sorted(set(events)) or None


def _webhooks(tenant_id: str | None) -> Any:
    in_project = and_(Project.team_id == Webhook.team_id, Project.id == Webhook.project_id)
    query = select(Webhook, Team.name, Project.name).join(Team, Team.id == Webhook.team_id)
    query = query.outerjoin(Project, in_project)
    return query if tenant_id is None else query.where(Team.name == tenant_id)


def _require(session: Session, webhook_id: str, tenant_id: str | None, *, for_update: bool = False) -> OwnedWebhook:
    query = _webhooks(tenant_id).where(Webhook.id == webhook_id)
    row = session.execute(query.with_for_update(of=Webhook) if for_update else query).one_or_none()
    if row is None:
        raise NotFound(f"There is no webhook {webhook_id!r}.", param="webhook_id")
    return tuple(row)


def _require_enabled(hook: Webhook) -> Webhook:
    if hook.disabled_at is not None:
        raise Conflict('This webhook is disabled: enable it first, by PATCH with {"enabled": true}.')
    return hook


def _fields(owned: OwnedWebhook) -> Json:
    hook, tenant_id, namespace = owned
    is_in_overlap = hook.previous_until is not None and hook.previous_until > utc_now()
    working = "active" if hook.failing_since is None else "failing"
    same = ("url", "events", "disabled_because", "failing_since", "last_error", "created_at", "updated_at")
    return {
        **{name: getattr(hook, name) for name in same},
        "webhook_id": hook.id,
        "tenant_id": tenant_id,
        "namespace": namespace,
        "status": working if hook.disabled_at is None else "disabled",
        "previous_secret_until": hook.previous_until if is_in_overlap else None,
    }


def _delivery_info(delivery: WebhookDelivery, event: EventRow | None) -> DeliveryInfo:
    same = ("status", "attempts", "attempted_at", "answer_status", "answer_excerpt", "error", "created_at")
    return DeliveryInfo(
        **{name: getattr(delivery, name) for name in same},
        event_id=str(delivery.number),
        message_id=None if event is None else message_id(event),
        type=None if event is None else event.type,
        next_attempt_at=None if delivery.due_at is None else datetime.fromtimestamp(delivery.due_at, UTC),
    )


def _audit(session: Session, verb: str, tenant_id: str, hook: Webhook, **details: Any) -> None:
    session.flush()
    described = {"url": hook.url, "events": hook.events, **details}
    record(session, f"webhook.{verb}", tenant_id=tenant_id, object=hook.id, **described)
