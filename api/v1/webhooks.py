"""/v1/webhooks: URLs that are called with what happens. A secret is shown once, when it is made."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api.access import needs
from api.dependencies import After, Caller, IdInPath, InRuntime, Limit, TenantIfAny
from api.fields import RequestBody, TenantInBody
from api.responses import raises
from api.routing import WritingRoute
from api.strings import Line, Name
from api.v1.common import Out, Page
from domain import DeliveryStatus, EventType, Scope
from errors import Conflict, Gone, Invalid, NotFound
from services.webhooks.hooks import WebhookChange

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=WritingRoute)

DAY_SECONDS = 86_400
Url = Annotated[Line, Field(max_length=2_000, description="http:// or https://, with a public address")]
Types = Annotated[list[EventType], Field(fail_fast=True, max_length=100)]
EventNumber = Annotated[str, Field(max_length=18, pattern="^[0-9]+$")]


class WebhookIn(RequestBody):
    tenant_id: TenantInBody
    url: Url
    events: Types = Field(default_factory=list, description="Only these types; empty: all")
    namespace: Name | None = Field(None, description="Only what happens in this namespace")


class WebhookChangeIn(RequestBody):
    """What is left out stays as it is."""

    url: Url | None = None
    events: Types | None = Field(None, description="Only these types; empty: all")
    enabled: bool | None = None


class RotateSecretIn(RequestBody):
    overlap_seconds: int = Field(
        DAY_SECONDS, ge=0, le=30 * DAY_SECONDS, description="How long the old secret signs beside the new one"
    )


class ReplayIn(RequestBody):
    """Neither: the deliveries that have failed."""

    event_id: EventNumber | None = Field(None, description="The event to deliver once more")
    after: EventNumber | None = Field(None, description="Everything after this event; 0: all that is kept")


class WebhookOut(Out):
    """status is active, failing or disabled; disabled_because is requested, gone or failing."""

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


class NewSecretOut(WebhookOut):
    """secret is shown here and never again."""

    secret: str


class DeliveryOut(Out):
    """message_id is the header webhook-id. The answer is that of the last try, its beginning."""

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


class WebhookPage(Page[WebhookOut]):
    pass


class DeliveryPage(Page[DeliveryOut]):
    pass


@router.post("", status_code=201)
@needs(Scope.ADMIN)
@raises(NotFound, Conflict)
def create_webhook(body: WebhookIn, runtime: InRuntime, response: Response) -> NewSecretOut:
    """Have a URL called with what happens from now on."""
    hooks = runtime.events.webhooks.hooks
    created = hooks.create(body.tenant_id, url=body.url, events=body.events, namespace=body.namespace)
    response.headers["Cache-Control"] = "no-store"
    return NewSecretOut.model_validate(created)


@router.get("")
@needs(Scope.ADMIN)
def list_webhooks(runtime: InRuntime, tenant_id: TenantIfAny, limit: Limit = 100, after: After = None) -> WebhookPage:
    """The webhooks by webhook_id, disabled ones too."""
    rows = runtime.events.webhooks.hooks.page(tenant_id=tenant_id, limit=limit + 1, after=after)
    return WebhookPage.of(rows, limit=limit, cursor="webhook_id")


@router.get("/{webhook_id}")
@needs(Scope.ADMIN)
@raises(NotFound)
def get_webhook(webhook_id: IdInPath, runtime: InRuntime, caller: Caller) -> WebhookOut:
    """A webhook, and whether its receiver works."""
    return WebhookOut.model_validate(runtime.events.webhooks.hooks.get(webhook_id, tenant_id=caller.tenant_id))


@router.patch("/{webhook_id}")
@needs(Scope.ADMIN)
@raises(NotFound)
def update_webhook(webhook_id: IdInPath, body: WebhookChangeIn, runtime: InRuntime, caller: Caller) -> WebhookOut:
    """Change its URL or its types; disable it, or enable it again."""
    change = WebhookChange(url=body.url, events=body.events, is_enabled=body.enabled)
    changed = runtime.events.webhooks.hooks.update(webhook_id, change, tenant_id=caller.tenant_id)
    return WebhookOut.model_validate(changed)


@router.delete("/{webhook_id}")
@needs(Scope.ADMIN)
@raises(NotFound)
def delete_webhook(webhook_id: IdInPath, runtime: InRuntime, caller: Caller) -> WebhookOut:
    """Delete it, with its deliveries; the answer is what it was."""
    return WebhookOut.model_validate(runtime.events.webhooks.hooks.delete(webhook_id, tenant_id=caller.tenant_id))


@router.post("/{webhook_id}/rotate", status_code=201)
@needs(Scope.ADMIN)
@raises(NotFound)
def rotate_secret(
    webhook_id: IdInPath, runtime: InRuntime, caller: Caller, response: Response, body: RotateSecretIn | None = None
) -> NewSecretOut:
    """Make a new secret. Until overlap_seconds are over, each delivery has two signatures."""
    seconds = (body or RotateSecretIn()).overlap_seconds
    rotated = runtime.events.webhooks.hooks.rotate(webhook_id, overlap_seconds=seconds, tenant_id=caller.tenant_id)
    response.headers["Cache-Control"] = "no-store"
    return NewSecretOut.model_validate(rotated)


@router.post("/{webhook_id}/test", status_code=202)
@needs(Scope.ADMIN)
@raises(NotFound, Conflict)
def send_test(webhook_id: IdInPath, runtime: InRuntime, caller: Caller) -> WebhookOut:
    """Send it an event of the type webhook.test; its deliveries show the answer."""
    return WebhookOut.model_validate(runtime.events.webhooks.hooks.send_test(webhook_id, tenant_id=caller.tenant_id))


@router.get("/{webhook_id}/deliveries")
@needs(Scope.ADMIN)
@raises(NotFound)
def list_deliveries(
    webhook_id: IdInPath,
    runtime: InRuntime,
    caller: Caller,
    status: Annotated[DeliveryStatus | None, Query(description="Only with this status")] = None,
    limit: Limit = 100,
    after: Annotated[str | None, Query(max_length=18, description="next_cursor of the page before")] = None,
) -> DeliveryPage:
    """What it was sent, or will be, the newest event first, and what its receiver answered."""
    if after is not None and not (after.isascii() and after.isdigit()):
        raise Invalid(f"after is the id of an event, a number, not {after!r}.", param="after")
    rows = runtime.events.webhooks.hooks.deliveries(
        webhook_id,
        tenant_id=caller.tenant_id,
        status=status,
        limit=limit + 1,
        after=None if after is None else int(after),
    )
    return DeliveryPage.of(rows, limit=limit, cursor="event_id")


@router.post("/{webhook_id}/replay", status_code=202)
@needs(Scope.ADMIN)
@raises(NotFound, Conflict, Gone)
def replay(webhook_id: IdInPath, runtime: InRuntime, caller: Caller, body: ReplayIn | None = None) -> WebhookOut:
    """Deliver once more, with the same ids: an event, all after one, or all that have failed."""
    chosen = body or ReplayIn()
    if chosen.event_id is not None and chosen.after is not None:
        raise Invalid("Send event_id or after, not both.", param="after")
    numbers = {name: value and int(value) for name, value in dict(chosen).items()}
    replayed = runtime.events.webhooks.hooks.replay(webhook_id, tenant_id=caller.tenant_id, **numbers)
    return WebhookOut.model_validate(replayed)
