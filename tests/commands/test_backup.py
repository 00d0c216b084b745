"""A backup of a running service, restored: the same state, or a clear error and nothing at all."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import alembic.command
import pytest
from alembic.config import Config
from sqlalchemy import make_url, select, text

from database.engine import Database, DatabaseKind
from errors import Conflict, DamagedBackup, DatabaseUnavailable, Invalid, NotFound
from migrations.upgrade import HEAD, RESTORING, current_revision, set_revision
from models import BackupRow, Base, Project, Revision
from runtime.backups import open_backup_places, open_target, scratch_of
from runtime.restoring import Restored, restore, verify_backup
from services.erasure.receipts import verify_ledger
from services.operations.backing_up import BackupService
from services.operations.backup_store import BackupStore
from services.operations.database_copies import drop_tables, remove_sqlite
from services.operations.manifests import BackupManifest
from settings import Settings
from tests.support.postgres import PostgresServer
from tests.support.processes import ROOT, finished, process, until
from tests.support.prose import prose
from tests.support.s3 import running_s3
from tests.support.service import PLACE, Service, environment, open_service, settings_in

UNLIKE = {"audit_chain", "audit_log", "backups", "jobs", "workers"}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def new_url(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty target of the service's own kind."""
    own = "service" if "service" in request.fixturenames else "remote_service"
    service: Service = request.getfixturevalue(own)
    if service.runtime.database.kind is DatabaseKind.SQLITE:
        (tmp_path / "new").mkdir()
        yield f"sqlite:///{tmp_path}/new/rag.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


def back_up(service: Service, target: Path | str, **options: Any) -> BackupManifest:
    store, database = open_target(service.settings, str(target)), service.runtime.database
    making = BackupService(database, service.runtime.ingest.blobs, service.runtime.index.vectors.folder)
    return making.back_up(store, scratch=scratch_of(store, database), **options)


def put_back(settings: Settings, source: Path | str, url: str, raw_files: Path) -> Restored:
    return restore(settings, source=str(source), target=url, raw_files=f"file://{raw_files}", report=lambda *_: None)


def store_at(target: Path) -> BackupStore:
    return open_target(Settings(min_free_disk_mb=0), str(target))


def furnish(service: Service) -> None:
    service.batch({f"doc-{number:02d}": prose(number) for number in range(12)})
    for number in range(0, 12, 3):
        service.delete(f"doc-{number:02d}")
    service.upsert("doc-01", prose(99))
    upload(service, "letter", "A letter on winter.")
    file = {"file": ("alone.txt", b"A file that is attached to nothing.")}
    answer = service.client.post("/v1/files", data={"purpose": "assistants"}, files=file)
    assert answer.status_code == 200, answer.text
    service.work()


def cut_anew(service: Service) -> None:
    """Let a version with another chunking serve."""
    small = {**PLACE, "name": "small", "chunking": {"chunk_tokens": 32}, "activate": "when_ready"}
    service.post("/v1/index/versions", small, expect=202)
    service.work()


def upload(service: Service, doc_id: str, content: str) -> None:
    files = {"file": (f"{doc_id}.txt", content.encode(), "text/plain")}
    answer = service.client.post("/v1/docs/upload", data={**PLACE, "doc_id": doc_id}, files=files)
    assert answer.status_code == 200, answer.text


def rows_of(url: str) -> dict[str, set[str]]:
    with Database.open(url) as database, database.read() as session:
        kind = session.get_bind().dialect.name
        tables = [each for each in Base.metadata.sorted_tables if each.info.get("only_on", kind) == kind]
        return {
            table.name: {repr(tuple(row)) for row in session.execute(select(table))}
            for table in tables
            if table.name not in UNLIKE
        }


def state_of(service: Service) -> dict[str, Any]:
    """What a client can see: documents, seq, and the results of searches."""
    docs = service.get("/v1/docs", {**PLACE, "limit": 100})["data"]
    with service.runtime.database.read() as session:
        seq = session.scalars(select(Project.seq)).all()
    hits = [service.hit_ids(prose(number, 1), mode=mode) for number in range(5) for mode in ("dense", "keyword")]
    return {"docs": {doc["doc_id"]: doc["revision"] for doc in docs}, "seq": seq, "hits": hits}


@contextmanager
def restored_service(service: Service, source: Path, url: str, folder: Path) -> Iterator[Service]:
    moved = {"index_dir": folder / "indices", "blob_store_url": f"file://{folder}/raw_files"}
    settings = service.settings.model_copy(update=moved)
    put_back(settings, source, url, folder / "raw_files")
    with open_service(settings.model_copy(update={"database_url": url})) as after:
        yield after


@contextmanager
def writing(service: Service) -> Iterator[Callable[[], int]]:
    """Writes, replaces and deletes documents until the end of the block. Yields the number of writes so far."""
    count, is_over, failures = [0], Event(), list[BaseException]()

    def write() -> None:
        try:
            while not is_over.is_set():
                number = count[0]
                service.upsert(f"busy-{number % 7}", prose(1000 + number))
                if number % 5 == 4:
                    service.delete(f"busy-{number % 7}")
                count[0] += 1
        except BaseException as error:
            failures.append(error)

    thread = Thread(target=write)
    thread.start()
    try:
        yield lambda: count[0]
    finally:
        is_over.set()
        thread.join()
    assert failures == []


# There and back


def test_a_restored_backup_equals_the_service_and_deleted_documents_stay_deleted(
    service: Service, target: Path, new_url: str, tmp_path: Path
) -> None:
    furnish(service)
    cut_anew(service)
    before, rows = state_of(service), rows_of(service.settings.database_url)
    chunks = {name: service.search("winter", top_k=99, index_version=name)["chunks"] for name in ("initial", "small")}
    manifest = back_up(service, target, with_indexes=True)
    service.upsert("later", "What came after the backup.")
    with restored_service(service, target, new_url, tmp_path / "new") as after:
        assert state_of(after) == before
        assert after.doc("doc-00", expect=404)
        assert "later" not in before["docs"]
        assert after.client.get("/v1/docs/letter/file", params=PLACE).content == b"A letter on winter."
        assert rows_of(new_url) == rows
        after.work()
        assert after.problems() == []
        for name, expected in chunks.items():
            assert after.search("winter", top_k=99, index_version=name)["chunks"] == expected
        after.upsert("doc-02", prose(98))
        after.post("/v1/index/versions/rollback", PLACE)
        assert after.problems() == []
        audit = after.runtime.operations.audit
        assert audit.verify().problems == []
        assert [row.object for row in audit.page(limit=9, action="backup.restored")] == [manifest.id]
        after.upsert("next", "Sequences go on.")
        [alone] = after.get("/v1/files")["data"]
        content = after.client.get(f"/v1/files/{alone['id']}/content").content
        assert content == b"A file that is attached to nothing."
    assert [part.name[:4] for part in manifest.raw_files] == ["raw/", "raw/"]
    assert sorted(path.name for path in target.iterdir()) == sorted([manifest.id, "raw"])


def test_a_backup_under_load_is_one_moment(service: Service, target: Path, new_url: str, tmp_path: Path) -> None:
    furnish(service)
    with writing(service) as written:
        until(lambda: written() > 3)
        manifest = back_up(service, target)
        done = written()
        until(lambda: written() > done + 3)
    with restored_service(service, target, new_url, tmp_path / "new") as after:
        [seq] = state_of(after)["seq"]
        assert [seq] == [each.seq for each in manifest.namespaces]
        with service.runtime.database.read() as session:
            assert seq < session.scalars(select(Project.seq)).one()
            at_seq = select(Revision.doc_id, Revision.revision, Revision.text).where(Revision.published_seq <= seq)
            expected = set(map(tuple, session.execute(at_seq)))
        with after.runtime.database.read() as session:
            published = select(Revision.doc_id, Revision.revision, Revision.text).where(Revision.published_seq > 0)
            assert set(map(tuple, session.execute(published))) == expected
        after.work()
        assert after.problems() == []


def test_the_keyword_index_of_a_copy_is_one_segment_so_that_no_deleted_word_is_left(
    tmp_path: Path, target: Path
) -> None:
    with open_service(settings_in(tmp_path)) as service:
        service.batch({f"doc-{number}": prose(number) for number in range(10)})
        service.delete("doc-3")
        assert segments(service.settings.database_url) > 1
        back_up(service, target)
    assert segments(f"sqlite:///{next(target.glob('*/database.sqlite'))}") == 1


def segments(url: str) -> int:
    with Database.open(url) as database, database.read() as session:
        return session.scalar(text("SELECT count(DISTINCT segid) FROM keyword_lexemes_idx")) or 0


def test_a_backup_of_sqlite_goes_into_postgres(tmp_path: Path, target: Path, postgres: PostgresServer) -> None:
    with open_service(settings_in(tmp_path)) as service, postgres.database() as url:
        furnish(service)
        before = state_of(service)
        service.post("/v1/index/rebuild", PLACE)
        service.runtime.queue.claim("a worker that was at it")
        back_up(service, target)
        with restored_service(service, target, url, tmp_path / "new") as after:
            assert state_of(after) == before


def test_a_backup_in_a_bucket_is_restored_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_s3(monkeypatch) as s3, open_service(settings_in(tmp_path)) as service:
        furnish(service)
        first = back_up(service, "s3://raw-files/backups", keep=1)
        second = back_up(service, "s3://raw-files/backups", keep=1)
        keys = [key for key in sorted(s3.keys()) if key.startswith("backups/")]
        assert {key.split("/")[1] for key in keys} == {second.id, "raw"}
        assert first.id < second.id
        outcome = verify_backup(service.settings, source="s3://raw-files/backups", report=lambda *_: None)
        assert outcome.manifest == second
        assert put_back(service.settings, "s3://raw-files/backups", f"sqlite:///{tmp_path}/new.db", tmp_path / "raw")


# Many backups in one place


def test_raw_files_are_copied_once_and_leave_with_their_last_backup(service: Service, target: Path) -> None:
    upload(service, "one", "The first file.")
    service.work()
    first = back_up(service, target)
    [file] = (target / "raw").glob("*/*")
    written_at = file.stat().st_mtime_ns
    upload(service, "two", "The second file.")
    service.work()
    second = back_up(service, target)
    assert file.stat().st_mtime_ns == written_at
    assert len(list((target / "raw").glob("*/*"))) == 2
    with service.runtime.database.write() as session:  # as an erasure would
        session.execute(text("UPDATE revisions SET blob_uri = NULL WHERE doc_id = 'one'"))
    third = back_up(service, target, keep=2)
    assert store_at(target).ids() == sorted([second.id, third.id])
    assert file.exists()
    fourth = back_up(service, target, keep=2)
    assert store_at(target).ids() == sorted([third.id, fourth.id])
    assert not file.exists()
    assert not (target / first.id).exists()


def test_two_backups_at_once_are_refused_and_a_failed_one_removes_none(service: Service, target: Path) -> None:
    kept = back_up(service, target)
    with service.runtime.database.backing_up(), pytest.raises(Conflict, match="Another backup"):
        back_up(service, target, keep=1)
    upload(service, "one", "A file.")
    service.work()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        back_up(service, target, keep=1, report=fail)
    assert store_at(target).ids() == [kept.id]
    assert [path.name for path in target.iterdir()] == [kept.id]


def test_a_raw_file_that_the_service_has_lost_is_named_and_the_rest_is_kept(
    service: Service, target: Path, new_url: str, tmp_path: Path
) -> None:
    upload(service, "one", "A file.")
    service.work()
    for file in (tmp_path / "raw_files").glob("*/*"):
        file.unlink()
    manifest = back_up(service, target)
    assert len(manifest.missing) == 1
    put_back(service.settings, target, new_url, tmp_path / "new_raw")


# Refused


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_in_any_part_is_noticed_and_nothing_is_restored(
    service: Service, target: Path, new_url: str, tmp_path: Path
) -> None:
    furnish(service)
    back_up(service, target, with_indexes=True)
    files = sorted(path for path in target.rglob("*") if path.is_file() and path.stat().st_size)
    assert len(files) >= 4
    moved = service.settings.model_copy(update={"index_dir": tmp_path / "new_indices"})
    for path in files:
        content = path.read_bytes()
        flipped(path)
        with pytest.raises(DamagedBackup):
            put_back(moved, target, new_url, tmp_path / "new_raw")
        path.write_bytes(content)
        assert is_empty(new_url)
        assert not list((tmp_path / "new_raw").rglob("*/*/*"))
    for path in (files[0], next(target.glob("raw/*/*"))):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(DamagedBackup, match="cannot be read"):
            put_back(moved, target, new_url, tmp_path / "new_raw")
        path.write_bytes(content)
    put_back(moved, target, new_url, tmp_path / "new_raw")


def is_empty(url: str) -> bool:
    if make_url(url).get_backend_name() == "sqlite":
        return not list(Path(make_url(url).database or "").parent.glob("rag.db*"))
    with Database.open(url) as database:
        return current_revision(database) is None


def test_a_target_that_is_not_empty_is_refused_and_left_alone(service: Service, target: Path, tmp_path: Path) -> None:
    furnish(service)
    back_up(service, target)
    before = rows_of(service.settings.database_url)
    with pytest.raises(Conflict, match="The target"):
        put_back(service.settings, target, service.settings.database_url, tmp_path / "new_raw")
    assert rows_of(service.settings.database_url) == before


def rewritten(target: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Gives the only backup a manifest with a valid checksum."""
    store = store_at(target)
    document = json.loads(store.newest().encode())
    change(document["backup"])
    path = next(target.glob("*/manifest.json"))
    path.write_bytes(BackupManifest(**_typed(store, document["backup"])).encode())


def _typed(store: BackupStore, content: dict[str, Any]) -> dict[str, Any]:
    original = store.newest()
    lists = ("tables", "raw_files", "index_files", "namespaces")
    return {**content, **{name: getattr(original, name) for name in lists}, "database": original.database}


def test_a_manifest_of_the_future_and_an_unknown_schema_are_refused(
    service: Service, target: Path, new_url: str, tmp_path: Path
) -> None:
    back_up(service, target)
    rewritten(target, lambda content: content.update(schema="9999"))
    with pytest.raises(Invalid, match="schema 9999, which this code does not know"):
        put_back(service.settings, target, new_url, tmp_path)
    rewritten(target, lambda content: content["rows"].update(docs=5))
    rewritten(target, lambda content: content.update(schema=HEAD))
    with pytest.raises(DamagedBackup, match="docs has 0 rows instead of 5"):
        put_back(service.settings, target, new_url, tmp_path)
    path = next(target.glob("*/manifest.json"))
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(Invalid, match="has format 2"):
        put_back(service.settings, target, new_url, tmp_path)


def test_a_place_without_backups_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"sand")
    settings = settings_in(tmp_path)
    for source in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotFound, match="no complete backup"):
            verify_backup(settings, source=str(source), report=lambda *_: None)
    with pytest.raises(NotFound, match="not a place for backups"):
        verify_backup(settings, source="ftp://somewhere", report=lambda *_: None)


def test_a_backup_of_postgres_is_not_for_sqlite(tmp_path: Path, migrated_postgres: PostgresServer) -> None:
    with (
        migrated_postgres.database() as url,
        open_service(settings_in(tmp_path, database_url=url)) as service,
        pytest.raises(Invalid, match="SQLite cannot read it"),
    ):
        back_up(service, tmp_path / "backups")
        put_back(service.settings, tmp_path / "backups", f"sqlite:///{tmp_path}/new.db", tmp_path)


def test_an_older_schema_is_migrated(service: Service, target: Path, new_url: str, tmp_path: Path) -> None:
    furnish(service)
    before = state_of(service)
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    with service.runtime.database.migrating() as connection:
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, "0011")
    assert back_up(service, target).schema == "0011"
    with restored_service(service, target, new_url, tmp_path / "new") as after:
        assert state_of(after) == before


# Cut in the middle


def run(settings: Settings, *arguments: object) -> subprocess.CompletedProcess[str]:
    return finished(command(*arguments), environment(settings))


def command(*arguments: object) -> list[str]:
    return ["manage.py", *map(str, arguments)]


def kill_once(appeared: Callable[[], bool], after_seconds: float, settings: Settings, *arguments: object) -> None:
    """Kill the command some time after that has appeared, if it still runs then."""
    with process(command(*arguments), settings) as running:
        until(lambda: appeared() or running.poll() is not None, pause=0.002)
        with suppress(subprocess.TimeoutExpired):
            running.wait(after_seconds)
        running.kill()


def test_kills_in_the_middle_leave_whole_backups_and_nothing_half_restored(
    remote_service: Service, target: Path, new_url: str, tmp_path: Path
) -> None:
    """BACKUP_KILLS=15 kills thirty times on each database."""
    service, random = remote_service, Random(15)
    furnish(service)
    for number in range(12):
        upload(service, f"file-{number}", prose(number) * 50)
    service.work()
    expected = state_of(service)
    back_up(service, target)
    settings = service.settings.model_copy(update={"index_dir": tmp_path / "new" / "indices"})
    raw_files = tmp_path / "new" / "raw_files"
    to_new = ("restore", target, "--to", new_url, "--blobs-to", f"file://{raw_files}")
    for _ in range(int(os.environ.get("BACKUP_KILLS", "1"))):
        names = set(target.rglob("*"))
        has_begun = partial(lambda names: set(target.rglob("*")) != names, names)
        kill_once(has_begun, random.uniform(0, 0.5), service.settings, "backup", target, "--keep", 2)
        assert verify_backup(service.settings, source=str(target), report=lambda *_: None)
        kill_once(partial(has_remains, new_url), random.uniform(0, 2), settings, *to_new)
        if has_service(new_url):
            empty(new_url)
    put_back(settings, target, new_url, raw_files)
    changed = {"database_url": new_url, "blob_store_url": f"file://{raw_files}"}
    with open_service(settings.model_copy(update=changed)) as after:
        assert state_of(after) == expected
    backup_id = run(service.settings, "backup", target, "--keep", 1).stdout.split()[1]
    assert {path.name for path in target.iterdir()} == {backup_id, "raw", "erasures.json"}


def has_remains(url: str) -> bool:
    if make_url(url).get_backend_name() == "sqlite":
        return Path(f"{make_url(url).database}-restoring").exists()
    with Database.open(url) as database:
        return current_revision(database) is not None


def has_service(url: str) -> bool:
    """Whether a process could open it: a restore ended before it was killed."""
    if make_url(url).get_backend_name() == "sqlite":
        return Path(make_url(url).database or "").exists()
    with Database.open(url) as database:
        return current_revision(database) not in (None, RESTORING)


def empty(url: str) -> None:
    if make_url(url).get_backend_name() == "sqlite":
        remove_sqlite(Path(make_url(url).database or ""))
        return
    with Database.open(url) as database, database.migrating() as connection:
        drop_tables(connection)


def test_a_restore_that_did_not_finish_keeps_the_target_closed_until_the_next(
    service: Service, target: Path, new_url: str, tmp_path: Path
) -> None:
    furnish(service)
    back_up(service, target)
    if service.runtime.database.kind is DatabaseKind.SQLITE:
        Path(f"{make_url(new_url).database}-restoring").write_bytes(b"half")
    else:
        put_back(service.settings, target, new_url, tmp_path / "raw")
        with Database.open(new_url) as database, database.write() as session:
            set_revision(session.connection(), RESTORING)
        with (
            pytest.raises(DatabaseUnavailable, match="did not finish"),
            open_service(service.settings.model_copy(update={"database_url": new_url})),
        ):
            pass
    with restored_service(service, target, new_url, tmp_path / "new") as after:
        assert state_of(after) == state_of(service)


def test_the_commands_say_what_they_did_and_what_is_wrong(tmp_path: Path, target: Path, remote: dict[str, Any]) -> None:
    settings = settings_in(tmp_path, **remote)
    with open_service(settings) as service:
        furnish(service)
    done = run(settings, "backup", target, "--with-indexes")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"backup \S+ in {target}: [\d.]+ MB, 2 raw files, [\d.]+ s\n", done.stdout)
    new = settings.model_copy(update={"index_dir": tmp_path / "new_indices"})
    to_new = ("--to", f"sqlite:///{tmp_path}/new.db", "--blobs-to", f"file://{tmp_path}/new_raw")
    done = run(new, "restore", target, *to_new)
    assert done.returncode == 0, done.stderr
    assert "1 namespaces with 9 live documents verified; a hybrid search of acme/project_001 returns" in done.stdout
    flipped(next(target.glob("raw/*/*")))
    verified = run(settings, "backup", "--verify", target)
    assert (verified.returncode, verified.stdout) == (1, "")
    assert "delete this file: the next backup copies it again" in verified.stderr


# By the worker


def test_a_worker_makes_the_backup_that_is_due_and_health_names_a_failure(service: Service, target: Path) -> None:
    service.upsert("doc", "Cats sleep.")
    with service.restarted(backup_url=f"file://{target}", backup_every_hours=24, backup_keep=1) as scheduled:
        backups = scheduled.runtime.operations.backups
        scheduled.worker.housekeeping.run_due_chores()
        until(lambda: "last: " in backups.describe())
        assert backups.run_if_due() is None
        assert len(store_at(target).ids()) == 1
        assert scheduled.get("/v1/health")["warnings"] == []
        with scheduled.runtime.database.write() as session:
            row = session.get_one(BackupRow, 1)
            row.tried_at = row.completed_at = row.tried_at.replace(year=2020)
        [warning] = scheduled.get("/v1/health")["warnings"]
        assert "no worker has made another" in warning
    (target / "file").write_text("")
    with service.restarted(backup_url=f"file://{target}/file", backup_every_hours=24) as failing:
        assert failing.runtime.operations.backups.run_if_due() is None
        [warning] = failing.get("/v1/health")["warnings"]
        assert "The last scheduled backup (BACKUP_URL) failed" in warning
        [finding] = [each for each in failing.runtime.operations.diagnosing.examine() if each.name == "backups"]
        assert not finding.is_ok
        assert failing.runtime.operations.backups.run_if_due() is None


def test_a_restore_erases_again_what_was_erased_after_the_backup_before_it_serves(
    service: Service, target: Path, new_url: str, tmp_path: Path
) -> None:
    other = {"tenant_id": "globex", "namespace": "secret"}
    service.batch({"kept": "Cats sleep.", "doomed": "The Zorblax sleeps."})
    upload(service, "file", "A Zorblax in a file.")
    service.post("/v1/docs/upsert", {**other, "doc_id": "theirs", "text": "Globex keeps a Zorblax."})
    service.rebuild()
    manifest = back_up(service, target, with_indexes=True)
    store = open_target(service.settings, str(target))
    open_backup_places(service.settings, service.runtime.database).record(store, keep=3, every_hours=24)

    erased = service.post("/v1/erasures", {**PLACE, "doc_ids": ["doomed", "file"]}, expect=202)
    gone = service.client.request("DELETE", "/v1/teams/globex", json={"confirm_tenant_id": "globex"}).json()
    service.work()
    receipt = service.get(f"/v1/erasures/{erased['erasure_id']}")["receipt"]
    assert [each["backup"] for each in receipt["backups"]] == [manifest.id]
    assert receipt["backups"][0]["until"] > receipt["finished_at"]
    ledger = json.loads((target / "erasures.json").read_text())
    assert {entry["id"] for entry in ledger["erasures"]} == {erased["erasure_id"], gone["erasure_id"]}
    assert b"oomed" not in (target / "erasures.json").read_bytes()

    settings = service.settings.model_copy(update={"index_dir": tmp_path / "restored"})
    put_back(settings, target, new_url, tmp_path / "new_raw")
    assert not any(b"Zorblax" in path.read_bytes() for path in (tmp_path / "new_raw").rglob("*") if path.is_file())
    assert not any("Zorblax" in row for rows in rows_of(new_url).values() for row in rows)
    changed = {
        "database_url": new_url,
        "blob_store_url": f"file://{tmp_path}/new_raw",
        "index_dir": tmp_path / "restored",
    }
    with service.restarted(**changed) as restored:
        restored.work()
        assert restored.hit_ids("sleeps", top_k=10) == ["kept"]
        assert restored.get("/v1/index/stats")["total_indices"] == 1
        assert restored.problems() == []
        assert verify_ledger(restored.runtime.erasure.ledger.export()) == 4  # two of before, two of the restore

    ledger["erasures"], ledger["receipts"] = ledger["erasures"][:1], ledger["receipts"][:1]
    (target / "erasures.json").write_text(json.dumps(ledger))
    with pytest.raises(DamagedBackup, match="ledger of erasures"):
        verify_backup(service.settings, source=str(target), report=lambda *_: None)
