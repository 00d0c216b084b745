"""Where raw files are kept: every kind of store keeps the same promises."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.blobs.base import BlobStore, new_name
from engines.blobs.folder import FolderStore
from engines.blobs.opening import open_blob_store
from errors import BlobStoreUnavailable, StorageFull
from tests.support.s3 import running_s3

LARGE = os.urandom(1 << 20) * 20


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlobStore]:
    if request.param == "folder":
        yield open_blob_store(f"file://{tmp_path}/raw", min_free_bytes=0)
        return
    with running_s3(monkeypatch):
        yield open_blob_store("s3://raw-files/some/prefix", min_free_bytes=0)


def put(store: BlobStore, content: bytes) -> str:
    name = new_name()
    with store.open_writer(name) as writer:
        for start in range(0, len(content), 1 << 20):
            writer.write(content[start : start + (1 << 20)])
    return name


def test_what_is_written_is_read_until_it_is_deleted(store: BlobStore) -> None:
    for content in (b"", b"small", LARGE):
        name = put(store, content)
        assert b"".join(store.read(name)) == content
        store.delete(name)
        store.delete(name)
        with pytest.raises(BlobStoreUnavailable, match="A raw file is not in"):
            store.read(name)
    assert store.check()


def test_a_file_is_adopted_and_named_like_one_that_was_written(store: BlobStore, tmp_path: Path) -> None:
    file, name = tmp_path / "large", new_name()
    file.write_bytes(LARGE)
    assert list(store.names()) == []
    store.adopt(file, name)
    written = put(store, b"small")
    assert set(store.names()) == {name, written}
    assert b"".join(store.read(name)) == LARGE
    store.delete(written)
    store.tidy()
    assert list(store.names()) == [name]


def test_a_copy_outlives_what_it_was_copied_from(store: BlobStore) -> None:
    source, copy = put(store, LARGE), new_name()
    store.copy(source, copy)
    store.delete(source)
    assert b"".join(store.read(copy)) == LARGE
    assert {source, copy} & set(store.names()) == {copy}
    with pytest.raises(BlobStoreUnavailable, match="A raw file is not in"):
        store.copy(source, new_name())


def test_a_folder_that_cannot_link_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refused)
    store = FolderStore(tmp_path / "raw", min_free_bytes=0)
    source, copy = put(store, LARGE), new_name()
    store.copy(source, copy)
    assert b"".join(store.read(copy)) == LARGE


def test_a_tidy_folder_holds_no_empty_one(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "raw", min_free_bytes=0)
    store.delete(put(store, b"small"))
    kept = put(store, b"small")
    store.tidy()
    assert [path.name for path in (tmp_path / "raw").iterdir()] == [kept[:2]]


def test_what_is_broken_off_is_not_there(store: BlobStore) -> None:
    name = new_name()
    with pytest.raises(ZeroDivisionError), store.open_writer(name) as writer:
        writer.write(LARGE)
        raise ZeroDivisionError
    with pytest.raises(BlobStoreUnavailable):
        store.read(name)


@pytest.mark.parametrize("name", ["../secret", "ab/../../secret", "{folder}/secret"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"swordfish")
    store = FolderStore(tmp_path / "raw", min_free_bytes=0)
    for verb in (store.read, store.delete, lambda name: store.open_writer(name).__enter__()):
        with pytest.raises(BlobStoreUnavailable, match="leads out"):
            verb(name.format(folder=tmp_path))
    assert (tmp_path / "secret").read_bytes() == b"swordfish"


def test_a_file_is_synced_before_it_has_its_name_and_its_folders_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, events = tmp_path / "raw", []
    sync, replace = os.fsync, Path.replace

    def recording_sync(handle: int) -> None:
        events.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        sync(handle)

    def recording_replace(path: Path, target: Path) -> Path:
        events.append("renamed")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", recording_sync)
    monkeypatch.setattr(Path, "replace", recording_replace)
    name = put(open_blob_store(f"file://{root}", min_free_bytes=0), b"kept")
    path = root / name
    assert events == [str(path.with_suffix(".tmp")), "renamed", str(path.parent), str(root), str(tmp_path)]


def test_a_folder_on_a_nearly_full_disk_takes_nothing_new_and_gives_back_what_it_has(tmp_path: Path) -> None:
    name = put(FolderStore(tmp_path, min_free_bytes=0), b"kept")
    full = FolderStore(tmp_path, min_free_bytes=1 << 60)
    with pytest.raises(StorageFull):
        put(full, b"more")
    assert b"".join(full.read(name)) == b"kept"
    full.delete(name)


@pytest.mark.parametrize("url", ["", "raw_files", "file://", "s3://", "http://host/raw", "s3:bucket"])
def test_a_url_of_another_kind_is_refused_in_words(url: str) -> None:
    with pytest.raises(BlobStoreUnavailable, match="BLOB_STORE_URL is not a location"):
        open_blob_store(url, min_free_bytes=0)


def test_only_a_store_of_this_machine_is_talked_to_unencrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://192.0.2.1:9000")
    with pytest.raises(BlobStoreUnavailable):
        open_blob_store("s3://raw-files", min_free_bytes=0).check()


def test_what_a_killed_process_left_half_written_is_written_over(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, min_free_bytes=0)
    killed = store.open_writer("ab/file")
    killed.__enter__().write(b"half of it")
    with store.open_writer("ab/file") as writer:
        writer.write(b"whole")
    assert b"".join(store.read("ab/file")) == b"whole"
