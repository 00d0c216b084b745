"""What of events and webhooks is limited."""

from __future__ import annotations

from api.sse import SEND_SECONDS
from api.v1.events import LONGEST_TYPES
from api.v1.webhooks import ReplayIn, RotateSecretIn, WebhookIn
from api.waiting import LONGEST_WAIT_SECONDS
from commands.limit_bounds import Bound, Section, largest
from engines.web.poster import EXCERPT_BYTES
from event_log import LONGEST_ERROR
from services.webhooks.delivering import PAUSES
from services.webhooks.hooks import MOST_WEBHOOKS
from services.webhooks.outbox import LONGEST_FAILING

_CHARS, _SECONDS = "characters", "s"

EVENTS = Section(
    "Events and webhooks",
    (
        Bound("Events are kept", "events_keep_days", "Deleted; 410 for whoever goes on from there"),
        Bound("An error in an event", LONGEST_ERROR, "Cut", _CHARS),
        Bound("`types` of events", LONGEST_TYPES, "422", _CHARS),
        Bound("Streams and waiting requests of one API process", "max_event_streams", "503 with `Retry-After`"),
        Bound("`timeout_seconds` of a request that waits for its job", LONGEST_WAIT_SECONDS, "422", _SECONDS),
        Bound("Time in which a stream's client takes nothing", SEND_SECONDS, "Closed", _SECONDS),
        Bound("Webhooks of a tenant", MOST_WEBHOOKS, "409"),
        Bound("`url` of a webhook", largest(WebhookIn, "url"), "422", _CHARS),
        Bound("`events` of a webhook", largest(WebhookIn, "events"), "422"),
        Bound("`overlap_seconds` of its secret (30 days)", largest(RotateSecretIn, "overlap_seconds"), "422", _SECONDS),
        Bound("`event_id` and `after` of a replay", largest(ReplayIn, "event_id"), "422", _CHARS),
        Bound("Time for the answer of a webhook's receiver", "webhook_timeout_seconds", "Tried again"),
        Bound("Pause before the second try of a delivery", "webhook_retry_seconds", "Grows with each try"),
        Bound("Tries of a delivery", len(PAUSES) + 1, "It has failed, and can be replayed"),
        Bound("Time that a receiver may fail without a success", LONGEST_FAILING.days, "Disabled", "day"),
        Bound("Of a receiver's answer is kept", EXCERPT_BYTES, "Cut", "bytes"),
    ),
)
