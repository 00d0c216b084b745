"""Texts are stored compressed where that saves, and read in either form, whatever the process's setting."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from threading import Thread

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import event, func, select, text, update

import migrations
from compression import MAGIC, MIN_BYTES, CompressedText, Compression, plain, plain_text
from database.engine import Database, DatabaseKind
from errors import DatabaseUnavailable
from housekeeping import Housekeeping
from models import IdempotencyKey, Revision
from services.operations import compressing
from services.operations.compressing import CompressingService
from services.operations.idempotency import StoredResponse
from tests.support.processes import until
from tests.support.prose import prose
from tests.support.service import Service, open_service, settings_in

LONG = f"Zoë with her 猫 slept. {prose(1, 12)}"
ON = Compression(is_on=True)
OFF = {"text_compression": "off"}


def stored(service: Service) -> dict[str, bytes]:
    """The bytes that stand in the database, by doc_id."""
    raw = text("SELECT doc_id, text FROM revisions ORDER BY revision")
    with service.runtime.database.read() as session:
        rows = session.execute(raw).all()
    return {doc_id: value.encode() if isinstance(value, str) else bytes(value) for doc_id, value in rows}


def texts(service: Service) -> dict[str, str]:
    with service.runtime.database.read() as session:
        return {doc_id: value for doc_id, value in session.execute(select(Revision.doc_id, Revision.text))}


def test_every_text_and_every_answer_comes_back_from_either_form() -> None:
    for size in (0, 1, MIN_BYTES - 1, MIN_BYTES, 100_000):
        words = (LONG * (size // len(LONG) + 1))[:size]
        for compression in (ON, Compression(is_on=False)):
            kept = compression.text(words)
            assert kept == words
            assert plain_text(getattr(kept, "frame", words.encode())) == words
            for data in (words.encode(), MAGIC + words.encode(), MAGIC):
                assert plain(compression.data(data)) == data
    assert len(ON.data(LONG.encode())) < 0.7 * len(LONG.encode())


def test_a_long_text_is_stored_compressed_and_a_short_one_as_it_is(service: Service) -> None:
    service.batch({"long": LONG, "short": "Cats sleep."})
    forms = stored(service)
    assert forms["long"].startswith(MAGIC)
    assert len(forms["long"]) < 0.7 * len(LONG.encode())
    assert forms["short"] == b"Cats sleep."
    assert texts(service) == {"long": LONG, "short": "Cats sleep."}
    if service.runtime.database.kind is DatabaseKind.SQLITE:
        with sqlite3.connect(service.runtime.database.file or "") as other:
            assert other.execute("SELECT typeof(text) FROM revisions ORDER BY doc_id").fetchall() == [
                ("blob",),
                ("text",),
            ]
    with service.runtime.database.read() as session:  # who copies a row copies the frame
        [row] = session.scalars(select(Revision.text).where(Revision.doc_id == "long"))
    assert isinstance(row, CompressedText)
    assert row.frame == forms["long"]
    with service.restarted(**OFF) as off:
        off.upsert("off", LONG + " Off.")
        assert stored(off)["off"] == (LONG + " Off.").encode()
        assert texts(off)["long"] == LONG
        assert off.upsert("long", LONG)["skipped_docs"] == 1
    assert service.problems() == []


def test_a_repeated_request_gets_its_answer_whole_whoever_stored_it(service: Service) -> None:
    bodies = {"json": LONG.encode(), "odd": MAGIC + b" no frame", "small": b"{}"}
    with service.restarted(**OFF) as off:
        for writer, reader in ((service, off), (off, service)):
            for name, body in bodies.items():
                key, answer = f"{writer.settings.text_compression} {name}", StoredResponse(201, body, {"Location": "/"})
                assert writer.runtime.operations.idempotency.begin(key, "hash", tenant_id=None) is None
                writer.runtime.operations.idempotency.store(key, "hash", answer)
                assert reader.runtime.operations.idempotency.begin(key, "hash", tenant_id=None) == answer
    with service.runtime.database.read() as session:
        lengths = select(IdempotencyKey.key, func.length(IdempotencyKey.response_body))
        sizes: dict[str, int] = {key: size for key, size in session.execute(lengths)}
    assert sizes["zstd json"] < 0.7 * sizes["off json"] == 0.7 * len(bodies["json"])


def test_what_was_stored_plain_is_compressed_behind_everybodys_back_and_once(service: Service) -> None:
    """In small steps, by two at once, and while a document is replaced: the text that is in between is not touched."""
    with service.restarted(**OFF) as off:
        off.batch({f"doc-{number}": f"{number} {LONG}" for number in range(40)} | {"short": "Cats."})
    before = texts(service)
    database = service.runtime.database
    walks = [CompressingService(database, ON) for _ in range(2)]
    counts: list[int] = []
    threads = [Thread(target=lambda walk=walk: counts.append(walk.run())) for walk in walks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts(service) == before
    forms = stored(service)
    assert {doc_id for doc_id, form in forms.items() if not form.startswith(MAGIC)} == {"short"}
    assert CompressingService(database, ON).run() == 0
    assert CompressingService(database, Compression(is_on=False)).run() == 0
    assert service.problems() == []


def test_a_worker_compresses_beside_its_jobs_unless_it_is_set_not_to(service: Service) -> None:
    with service.restarted(**OFF) as off:
        off.upsert("doc", LONG)
        Housekeeping(off.runtime).run_due_chores()
        assert not off.runtime.operations.compressing.run()
    assert stored(service)["doc"] == LONG.encode()
    Housekeeping(service.runtime).run_due_chores()
    until(lambda: stored(service)["doc"].startswith(MAGIC))


def test_a_text_that_was_erased_meanwhile_does_not_come_back(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with service.restarted(**OFF) as off:
        off.upsert("doc", LONG)

    def erase_and_compress(self: Compression, words: str) -> str:
        with service.runtime.database.write() as session:
            session.execute(update(Revision).values(text=""))
        return compress(self, words)

    compress = Compression.text
    monkeypatch.setattr(Compression, "text", erase_and_compress)
    CompressingService(service.runtime.database, ON).run()
    assert texts(service) == {"doc": ""}


def test_a_walk_takes_pages_and_steps_that_are_small(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with service.restarted(**OFF) as off:
        off.batch({f"doc-{number}": f"{number} {LONG}" for number in range(11)})
    monkeypatch.setattr(compressing, "KEYS_PER_READ", 3)
    monkeypatch.setattr(compressing, "BYTES_PER_STEP", len(LONG))
    writes: list[str] = []
    event.listen(service.runtime.database.engine, "commit", lambda _: writes.append("commit"))
    assert CompressingService(service.runtime.database, ON).run() == 11
    assert len(writes) == 11
    assert all(form.startswith(MAGIC) for form in stored(service).values())


def test_a_damaged_text_is_an_error_with_advice_and_not_another_text(service: Service) -> None:
    service.upsert("doc", LONG)
    frame = stored(service)["doc"]
    damaged = frame[:-8] + bytes([frame[-8] ^ 1]) + frame[-7:]
    with service.runtime.database.write() as session:
        session.execute(text("UPDATE revisions SET text = :frame"), {"frame": damaged})
    with pytest.raises(DatabaseUnavailable, match=r"damaged.*restore"):
        texts(service)


def test_the_schema_before_gets_plain_texts_back(tmp_path: Path, empty_url: str) -> None:
    settings = settings_in(tmp_path, database_url=empty_url)
    with open_service(settings) as service:
        service.upsert("doc", LONG)
        service.runtime.operations.idempotency.begin("key", "hash", tenant_id=None)
        service.runtime.operations.idempotency.store("key", "hash", StoredResponse(200, LONG.encode(), {}))
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with Database.open(empty_url) as database, database.migrating() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0018-1")
        assert connection.scalar(text("SELECT text FROM revisions")) == LONG
        assert bytes(connection.scalar(text("SELECT response_body FROM idempotency_keys"))) == LONG.encode()
    with open_service(settings) as after:
        assert texts(after) == {"doc": LONG}
