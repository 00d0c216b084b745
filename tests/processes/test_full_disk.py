"""A disk that runs full refuses what is new, goes on finding, and can still be emptied."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from engines.blobs.base import new_name
from errors import StorageFull
from models import Revision
from runtime.backups import open_target, scratch_of
from services.operations.backing_up import BackupService
from tests.support.prose import prose
from tests.support.service import open_service, settings_in


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(folder: Path) -> None:
    with open(folder / "ballast", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass


def test_below_the_low_water_mark_nothing_new_is_accepted_and_the_rest_works(small_disk: Path) -> None:
    with open_service(settings_in(small_disk, min_free_disk_mb=30)) as service:
        service.upsert("doc", "Cats sleep.")
        (small_disk / "ballast").write_bytes(bytes(25 << 20))
        problem = service.upsert("more", "Dogs bark.", expect=507)
        assert "MIN_FREE_DISK_MB" in problem["detail"]
        assert service.upsert("doc", "Cats sleep.")["skipped_docs"] == 1
        assert service.hit_ids("cats") == ["doc"]
        (small_disk / "ballast").unlink()
        service.upsert("more", "Dogs bark.")


def test_on_a_full_disk_documents_can_be_deleted_and_nothing_is_lost(small_disk: Path) -> None:
    with open_service(settings_in(small_disk, min_free_disk_mb=1)) as service:
        service.batch({f"doc-{number}": prose(number) for number in range(20)})
        reserve = small_disk / "rag.db-reserve"
        assert reserve.stat().st_size > 0
        fill_up(small_disk)
        service.upsert("more", prose(99), expect=507)
        for number in range(10):
            service.delete(f"doc-{number}")
        assert not reserve.exists()
        assert sorted(service.hit_ids("winter", top_k=50)) == [f"doc-{number}" for number in range(10, 20)]
        (small_disk / "ballast").unlink()
        service.work()
        service.upsert("more", prose(99))
        assert service.problems() == []


def test_a_backup_to_a_disk_that_is_or_runs_full_fails_and_leaves_the_earlier_ones(
    small_disk: Path, tmp_path: Path
) -> None:
    with open_service(settings_in(tmp_path)) as service:
        service.upsert("doc", "Cats sleep.")
        runtime = service.runtime
        store = open_target(service.settings, str(small_disk))
        scratch = scratch_of(store, runtime.database)
        making = BackupService(runtime.database, runtime.ingest.blobs, None)
        first = making.back_up(store, scratch=scratch)
        name = new_name()
        with runtime.ingest.blobs.open_writer(name) as writer:
            writer.write(bytes(80 << 20))
        with runtime.database.write() as session:
            session.execute(update(Revision).values(blob_uri=name))
        for is_full in (False, True):
            if is_full:
                fill_up(small_disk)
            with pytest.raises(StorageFull):
                making.back_up(store, scratch=scratch, keep=1)
            assert store.ids() == [first.id]
        (small_disk / "ballast").unlink()
        assert sorted(path.name for path in small_disk.iterdir()) == [first.id]
        with runtime.database.write() as session:
            session.execute(update(Revision).values(blob_uri=None))
        second = making.back_up(store, scratch=scratch, keep=1)
        assert store.ids() == [second.id]
