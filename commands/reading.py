"""Show what a file would become, without storing it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.common import group, opened, plain_errors, say, settings_of
from domain import Json, RawFile
from errors import Invalid

if TYPE_CHECKING:
    from services.ingest.drafts import NewDoc
    from services.ingest.previewing import Preview

commands = group()


@commands.command()
def read(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A file of any type.")],
    *,
    tenant: Annotated[
        str | None, typer.Option(help="With --namespace: the tenant whose namespace it is read for.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="With --tenant: a namespace, whose model counts the tokens.")
    ] = None,
    strategy: Annotated[str, typer.Option(help="Chunking strategy; auto: the one that fits the type.")] = "auto",
    overlap: Annotated[int, typer.Option(min=0, help="Characters that a chunk repeats of the previous one.")] = 0,
    enrich: Annotated[bool, typer.Option(help="Embed each chunk with its file's name and headings.")] = True,
    limit: Annotated[int, typer.Option(min=1, help="Most chunks to show.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it, as POST /v1/docs/preview answers.")] = False,
) -> None:
    """Show what a file would become: its text in chunks, its title, its warnings. Nothing is stored.

    Without a tenant and a namespace no database is opened, and the model that is set here counts the tokens.
    """
    if (tenant is None) != (namespace is None):
        raise typer.BadParameter("give --tenant and --namespace together.")
    with plain_errors():
        doc = _doc(file, tenant or "", namespace or "")
        doc = replace(doc, chunk_strategy=strategy, chunk_overlap=overlap, enrich_context=enrich)
        preview = _previewed(context, file.absolute(), doc)
    if as_json:
        chunks = {"data": preview.chunks(), "has_more": False, "next_cursor": None}
        typer.echo(json.dumps({**preview.described(), "chunks": chunks}, indent=2))
    else:
        _show(preview, limit)


def _doc(path: Path, tenant_id: str, namespace: str) -> NewDoc:
    from services.ingest.drafts import NewDoc
    from services.ingest.uploading import doc_id_of, plain_filename, with_filename
    from text.extract.kinds import HEAD_BYTES, kind_of

    if not path.is_file():
        raise Invalid(f"{path} is not a regular file.")
    try:
        with path.open("rb") as opened_file:
            mime_type = kind_of(opened_file.read(HEAD_BYTES), path.name).mime_type
            opened_file.seek(0)
            sha256 = hashlib.file_digest(opened_file, "sha256").hexdigest()
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.") from error
    name = plain_filename(path.name)
    file = RawFile("", name, sha256, path.stat().st_size, mime_type)
    return with_filename(NewDoc(tenant_id, namespace, doc_id_of(namespace, name), text="", metadata={}, file=file))


def _previewed(context: typer.Context, path: Path, doc: NewDoc) -> Preview:
    if not doc.namespace:
        from engines.embedders.opening import open_embedder
        from runtime.index import embedder_config
        from runtime.ingest import open_previewer

        settings = settings_of(context)
        return open_previewer(settings).preview(path, doc, open_embedder(embedder_config(settings)))
    with opened(context) as runtime:
        return runtime.ingest.previews.preview(path, doc)


def _show(preview: Preview, limit: int) -> None:
    doc, count = preview.doc, len(preview.draft.spans)
    say(f"file      {preview.file.filename}, {preview.file.byte_count} bytes")
    say(f"type      {doc.mime_type}")
    say(f"title     {doc.title or 'none'}")
    say(f"text      {len(doc.text)} characters")
    say(f"chunks    {count}, strategy {doc.chunk_strategy}")
    for message in preview.messages or ["none"]:
        say(f"warning   {message}")
    for chunk in preview.chunks(limit=limit):
        _show_chunk(chunk)
    if count > limit:
        say(f"\nand {count - limit} chunks more (--limit)")


def _show_chunk(chunk: Json) -> None:
    first, last = chunk["page_start"], chunk["page_end"]
    pages = "" if first is None else f"page {first}" if first == last else f"pages {first} to {last}"
    place = (f"characters {chunk['char_start']} to {chunk['char_end']}", pages, chunk["section"])
    say(f"\n--- {chunk['chunk_index']}: {chunk['token_count']} tokens, {', '.join(filter(None, place))}")
    if chunk["header"]:
        say(f"[{chunk['header']}]")
    say(chunk["text"].replace("\f", "\n").expandtabs())
