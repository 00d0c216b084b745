"""The webhooks wing: the verbs, and the courier that delivers."""

from __future__ import annotations

from database.engine import Database
from engines.web.addresses import AllowedHosts
from engines.web.poster import Poster
from runtime.parts import Webhooks
from services.events.reading import EventReader
from services.webhooks.courier import Courier
from services.webhooks.delivering import PAUSES, DeliveringService
from services.webhooks.hooks import WebhookService
from services.webhooks.outbox import HookOutbox
from settings import Settings


def open_webhooks(settings: Settings, database: Database, reader: EventReader) -> Webhooks:
    seconds = settings.webhook_timeout_seconds
    poster = Poster(AllowedHosts.parse(settings.fetch_allow_hosts), seconds)
    outbox = HookOutbox(database, reader.horizon, settings.job_lease_seconds + seconds)
    delivering = DeliveringService(outbox, poster, settings.webhook_retry_seconds / PAUSES[0])
    return Webhooks(WebhookService(database, reader, poster), outbox, Courier(delivering))
