"""Backups of a running service, and restoring them."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from commands.common import Show, failed, group, note, opened, plain_errors, progress, say, settings_of

if TYPE_CHECKING:
    from runtime.restoring import Restored
    from services.operations.manifests import BackupManifest

commands = group()


class _Files:
    """Shows progress once the number of files is known."""

    def __init__(self, stack: ExitStack, label: str) -> None:
        self._stack, self._label = stack, label
        self._show: Show | None = None

    def __call__(self, done: int, total: int, name: str) -> None:
        if self._show is None:
            self._show = self._stack.enter_context(progress(self._label, total))
        self._show(done, name)


@commands.command()
def backup(
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A folder, s3://bucket/prefix or gs://bucket/prefix.")
    ],
    *,
    with_indexes: Annotated[bool, typer.Option(help="With the index files, which can also be written anew.")] = False,
    keep: Annotated[int | None, typer.Option(min=1, help="Then remove all but the newest N of TARGET.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Make none: restore the one in TARGET temporarily.")] = False,
) -> None:
    """Back up the running service: the database at one point in time, and its raw files.

    TARGET may hold many backups of one installation; raw files of an earlier one are not copied again. With --verify,
    the newest backup in TARGET, or the one that it names, is restored into a temporary place and checked.
    """
    if verify:
        _verify(context, target)
        return
    started = time.monotonic()
    manifest, location = _make(context, target, with_indexes=with_indexes, keep=keep)
    say(f"backup {manifest.id} in {location}: {_size(manifest)}, {time.monotonic() - started:.1f} s")
    if manifest.missing:
        raise failed(
            f"The backup is complete but for {len(manifest.missing)} raw files that documents refer to and "
            f"BLOB_STORE_URL does not hold: {manifest.missing[0]}, …"
        )


@commands.command()
def restore(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A backup, or a folder or bucket: its newest one.")],
    *,
    target: Annotated[
        str, typer.Option("--to", metavar="URL", help="An empty database, or a file that does not exist.")
    ],
    blobs_to: Annotated[str | None, typer.Option(metavar="URL", help="Raw files; without it BLOB_STORE_URL.")] = None,
) -> None:
    """Restore a backup into an empty database, check every part, and search it.

    Index files go into INDEX_DIR, if the backup has any. An older schema is migrated. If anything is wrong, nothing is
    restored. A backup of SQLite can be restored into Postgres.
    """
    from runtime.restoring import restore as restored

    settings = settings_of(context)
    started = time.monotonic()
    with plain_errors(), ExitStack() as stack:
        report = _Files(stack, "raw files restored")
        outcome = restored(
            settings, source=source, target=target, raw_files=blobs_to or settings.blob_store_url, report=report
        )
    _show(outcome, "restored", time.monotonic() - started)
    say("Now set DATABASE_URL and BLOB_STORE_URL to the targets, and start the API and a worker.")


def _make(context: typer.Context, target: str, *, with_indexes: bool, keep: int | None) -> tuple[BackupManifest, str]:
    """Returns the manifest of the new backup, and where it is."""
    from runtime.backups import open_backup_places, open_target, scratch_of
    from services.operations.backing_up import BackupService
    from services.operations.backup_places import write_ledger

    with opened(context) as runtime, ExitStack() as stack:
        store = open_target(runtime.settings, target)
        service = BackupService(runtime.database, runtime.ingest.blobs, runtime.index.vectors.folder)
        note("copying the database")
        manifest = service.back_up(
            store,
            scratch=scratch_of(store, runtime.database),
            keep=keep,
            with_indexes=with_indexes,
            report=_Files(stack, "files copied"),
        )
        open_backup_places(runtime.settings, runtime.database).record(store, keep=keep, every_hours=None)
        write_ledger(store, runtime.erasure.ledger.export_for_backups())
        runtime.operations.audit.record("backup.made", object=manifest.id, location=store.location)
    return manifest, store.location


def _size(manifest: BackupManifest) -> str:
    return f"{manifest.size / 2**20:.1f} MB, {len(manifest.raw_files)} raw files"


def _verify(context: typer.Context, source: str) -> None:
    from runtime.restoring import verify_backup

    settings = settings_of(context)
    started = time.monotonic()
    with plain_errors(), ExitStack() as stack:
        outcome = verify_backup(settings, source=source, report=_Files(stack, "raw files checked"))
    _show(outcome, "verified", time.monotonic() - started)


def _show(outcome: Restored, done: str, seconds: float) -> None:
    manifest, examination = outcome.manifest, outcome.examination
    docs = sum(each.live_docs for each in examination.verdicts)
    say(f"{done} backup {manifest.id} of {manifest.created_at}: {_size(manifest)}, {seconds:.1f} s")
    say(f"{len(examination.verdicts)} namespaces with {docs} live documents verified; {examination.search}")
    if examination.rebuilds:
        say(f"{examination.rebuilds} rebuild jobs wait for a worker: searches read the database until then")
    if manifest.missing:
        note(f"warning: {len(manifest.missing)} raw files were lost before the backup: {manifest.missing[0]}, …")
