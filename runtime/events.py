"""The events wing: the log, the feed that streams follow, and webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from database.engine import Database
from runtime.parts import Events
from runtime.webhooks import open_webhooks
from services.events.feed import EventFeed
from services.events.horizon import Horizon
from services.events.reading import EventReader
from settings import Settings


@contextmanager
def open_events(settings: Settings, database: Database) -> Iterator[Events]:
    reader = EventReader(database, Horizon(database))
    feed = EventFeed(reader, most_followers=settings.max_event_streams)
    try:
        yield Events(reader, feed, open_webhooks(settings, database, reader))
    finally:
        feed.shut_down()
