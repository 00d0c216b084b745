"""Export a tenant into a file, and import such a file."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.common import Show, Tenant, failed, group, note, opened, progress, say
from durable import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.operations.importing import ImportedNamespace

NamespaceIfAny = Annotated[str | None, typer.Option("--namespace", help="Only this one of the tenant's collections.")]

commands = group()


class _PerNamespace:
    """Shows the progress of one namespace after the other."""

    def __init__(self, label: str) -> None:
        self._label, self._namespace = label, ""
        self._stack = ExitStack()
        self._show: Show | None = None

    def __call__(self, done: int, total: int, namespace: str) -> None:
        if self._show is None or namespace != self._namespace:
            self.close()
            self._namespace, self._show = namespace, self._stack.enter_context(progress(self._label, total))
        self._show(done, namespace)

    def close(self) -> None:
        self._stack.close()


@commands.command()
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, as in acme.tar.zst.")],
    *,
    tenant: Tenant,
    namespace: NamespaceIfAny = None,
    vectors: Annotated[bool, typer.Option(help="With the vectors, so that an import embeds nothing.")] = False,
    files: Annotated[bool, typer.Option(help="With the raw files of documents that came as files.")] = True,
) -> None:
    """Export what is searchable of a tenant into a file: documents, chunks, metadata, raw files.

    The service may run meanwhile: each namespace is exported as of one moment.
    """
    from services.operations.exporting import ExportOptions

    if file.exists():
        raise failed(f"{file} exists: name a file that does not.")
    started, report = time.monotonic(), _PerNamespace("documents read")
    with opened(context) as runtime, ExitStack() as stack:
        stack.callback(report.close)
        pieces = runtime.operations.exporting.export(tenant, ExportOptions(namespace, vectors, files), report)
        size = _write(file, pieces)
        for each in runtime.operations.importing.open(file).namespaces.values():
            say(f"{each.namespace} at seq {each.seq}: {each.documents} documents, {each.chunks} chunks")
            if each.not_searchable:
                note(f"warning: {each.not_searchable} documents wait or have failed, and are not in the export")
    say(f"{file}: {size / 2**20:.1f} MB, {time.monotonic() - started:.1f} s")


@commands.command(name="import")
def import_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of an export.")],
    *,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Another tenant than the file names.")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", help="Another name for its one namespace.")] = None,
    reembed: Annotated[bool, typer.Option("--reembed", help="Where a namespace has another model, use that.")] = False,
) -> None:
    """Import the file of an export, after verifying all of it. Vectors that it has are not computed again.

    Its documents are upserted: those that are stored already are skipped, and a command that was interrupted can be
    repeated. A namespace that does not exist is created.
    """
    from services.operations.importing import ImportTarget

    report = _PerNamespace("documents imported")
    with opened(context) as runtime, ExitStack() as stack:
        stack.callback(report.close)
        note(f"verifying {file}")
        exported = runtime.operations.importing.open(file)
        target = ImportTarget(tenant, namespace, embeds_anew=reembed)
        for each in runtime.operations.importing.run(exported, target, report):
            _tell(each)


def _tell(each: ImportedNamespace) -> None:
    result = each.result
    say(
        f"{each.tenant_id}/{each.namespace}, as of seq {each.seq}: {result.upserted_docs} documents imported, "
        f"{result.skipped_docs} unchanged; {result.chunks_embedded} chunks embedded, {result.chunks_reused} with their "
        "vectors"
    )


def _write(file: Path, pieces: Iterator[bytes]) -> int:
    """The file has its name when it is complete and durable. Returns its size."""
    partial = file.with_name(f"{file.name}.partial")
    try:
        with open(partial, "wb") as target:
            for piece in pieces:
                target.write(piece)
            target.flush()
            os.fsync(target.fileno())
        partial.replace(file)
        sync_folder(file.absolute().parent)
    except OSError as error:
        raise failed(f"{file} cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return file.stat().st_size
