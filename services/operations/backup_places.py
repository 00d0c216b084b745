"""The places where backups of this database were made: what they still hold, and the ledger that each of them gets.

A restore reads the ledger beside the backup, and erases again what was erased after the backup was made.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from database.dialects import insert_or_ignore
from database.engine import Database
from domain import Json
from errors import Conflict, DamagedBackup, ServiceError
from models import BackupPlace, utc_now
from services.operations.backup_store import BackupStore
from times import shifted

log = logging.getLogger(__name__)

LEDGER = "erasures.json"
MOST_LISTED = 100
_TIME = re.compile(r"(\d{8}T\d{6}\.\d{6})Z-")


@dataclass(frozen=True)
class BackupPlaces:
    """*open_store* opens a place by its location."""

    database: Database
    open_store: Callable[[str], BackupStore]

    def record(self, store: BackupStore, *, keep: int | None, every_hours: float | None) -> None:
        rule = {"keep": keep, "every_hours": every_hours, "used_at": utc_now()}
        with self.database.write() as session:
            session.execute(insert_or_ignore(session, BackupPlace).values(location=store.location, **rule))
            row = session.get_one(BackupPlace, store.location)
            row.keep, row.every_hours, row.used_at = keep, every_hours, utc_now()

    def held(self) -> list[Json]:
        """The backups that are there, newest first. *until* is when the rule removes one; null: nobody knows."""
        return [each for place in self._places() for each in self._held_in(place)]

    def publish(self, ledger: Json) -> list[str]:
        """Write the ledger into every place. Returns those that could not be reached; the next erasure tries again."""
        failed = []
        for place in self._places():
            try:
                store = self.open_store(place.location)
                if store.ids():
                    write_ledger(store, ledger)
            except (ServiceError, OSError) as error:
                log.error("the ledger of erasures could not be written to %s: %s", place.location, error)
                failed.append(place.location)
        return failed

    def _places(self) -> list[BackupPlace]:
        with self.database.read() as session:
            return list(session.scalars(select(BackupPlace).order_by(BackupPlace.used_at.desc())))

    def _held_in(self, place: BackupPlace) -> list[Json]:
        try:
            newest_first = self.open_store(place.location).ids()[::-1]
        except (ServiceError, OSError):
            return [{"backup": None, "created_at": None, "until": None, "why": "a place of backups does not answer"}]
        return [
            {"backup": backup_id, "created_at": _created_at(backup_id).isoformat(), "until": _until(place, number)}
            for number, backup_id in enumerate(newest_first[:MOST_LISTED])
        ]


def write_ledger(store: BackupStore, ledger: Json) -> None:
    """Raises Conflict where the erasures of another installation are kept: overwriting them would undo them."""
    existing = read_ledger(store)
    if existing is not None and existing["erasures"] and existing["hmac_key"] != ledger["hmac_key"]:
        raise Conflict(
            f"{store.location} keeps the erasures of another installation ({LEDGER}): back up to another place, or "
            "remove that file if its backups are not to be restored any more."
        )
    store.write(LEDGER, [json.dumps(ledger, ensure_ascii=False).encode()])


def read_ledger(store: BackupStore) -> Json | None:
    """None: nothing was erased since the backups were made there. Raises DamagedBackup."""
    try:
        encoded = b"".join(store.blobs.read(LEDGER))
    except ServiceError:
        return None
    try:
        ledger: Json = json.loads(encoded)
        return ledger
    except ValueError as error:
        raise DamagedBackup(
            f"The ledger of erasures ({LEDGER}) in {store.location} is damaged: without it a restore would bring back "
            "what was erased. Export it again (manage.py erasures --export FILE) or remove it knowingly."
        ) from error


def _created_at(backup_id: str) -> datetime:
    match = _TIME.match(backup_id)
    assert match is not None
    return datetime.strptime(match[1], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)


def _until(place: BackupPlace, newer: int) -> str | None:
    """When enough newer backups will have been made."""
    if place.keep is None or place.every_hours is None:
        return None
    return shifted(utc_now(), seconds=3600 * place.every_hours * max(place.keep - newer, 0)).isoformat()
