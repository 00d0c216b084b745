"""Ingest files, and search."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.common import Namespace, Tenant, failed, group, opened, progress, say
from domain import Mode

if TYPE_CHECKING:
    from services.operations.folders import Listing, Outcome
    from services.search.question import Passage

MAX_LINES = 20
PASSAGE_CHARS = 200

_FOLLOW_LINKS = typer.Option("--follow-links", help="Follow symbolic links in the folders, wherever they lead.")
FollowLinks = Annotated[bool, _FOLLOW_LINKS]

commands = group()


@commands.command()
def ingest(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files, of any type; folders.")],
    *,
    tenant: Tenant,
    namespace: Namespace,
    strategy: Annotated[
        str | None, typer.Option(help="Chunking strategy; otherwise the one that fits each type.")
    ] = None,
    enrich: Annotated[bool, typer.Option(help="Embed each chunk with its file's name and headings.")] = True,
    glob: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Take only these files of the folders.")
    ] = None,
    follow_links: FollowLinks = False,
) -> None:
    """Ingest files into a namespace. Unchanged files are not embedded again.

    Of folders: PDF, DOCX, PPTX, XLSX, HTML, EPUB, EML, CSV, TSV, JSON, .txt .text .md .markdown .rst, LICENSE, COPYING,
    README*; no hidden files, and nothing behind a symbolic link. Their text is stored, the files are not. A document's
    id is the path of its file from the given folder's own name on (docs/a.md), so "docs", "./docs" and "." inside it
    are the same. A file that was removed from the folder stays in the namespace.
    """
    from services.operations.folders import Outcome, Target, find_files

    started = time.monotonic()
    listing = find_files(paths, glob or [], follow_links=follow_links)
    with opened(context) as runtime:
        total = Outcome(failed=listing.failed)
        target = Target(tenant, namespace, strategy, enrich)
        try:
            with progress("files", len(listing.files)) as show:
                for outcome in runtime.operations.folders.ingest(listing.files, target):
                    total += outcome
                    show(total.files - len(listing.failed))
        finally:  # what was stored before an error or Ctrl-C stays stored
            _summarize(total, listing, time.monotonic() - started)
    if not total.files:
        typer.echo("There are no such files: name files, or select them with --glob.", err=True)
    if total.failed:
        raise typer.Exit(1)


@commands.command()
def search(
    context: typer.Context,
    query: str,
    *,
    tenant: Tenant,
    namespace: Namespace,
    top_k: Annotated[int, typer.Option(min=1, help="Most passages to show.")] = 5,
    mode: Annotated[Mode | None, typer.Option(help="Search mode; otherwise SEARCH_MODE.")] = None,
) -> None:
    """Show the best passages for QUERY."""
    from services.search.checking import checked, choose_mode
    from services.search.question import Question

    with opened(context) as runtime:
        limits = runtime.search.limits
        question = Question(tenant, namespace, query.replace("\x00", " "), top_k, mode=choose_mode(mode, limits))
        answer = runtime.search.searching.search(checked(question, limits))
    if answer.hint and answer.partition is None:
        raise failed(answer.hint)
    for rank, passage in enumerate(answer.passages, 1):
        _show_passage(rank, passage)
    if not answer.passages:
        say(answer.hint or "Nothing was found.")


def _summarize(total: Outcome, listing: Listing, seconds: float) -> None:
    done, count = total.upserted, len(listing.files) + len(listing.failed)
    skipped = done.skipped_docs + len(total.empty)
    rest = f", {count - total.files} not tried" if count > total.files else ""
    empty = f" ({len(total.empty)} empty)" if total.empty else ""
    say(f"docs    {done.upserted_docs} upserted, {skipped} skipped{empty}, {len(total.failed)} failed{rest}")
    say(f"chunks  {done.chunks_created}: {done.chunks_embedded} embedded, {done.chunks_reused} reused")
    if listing.links:
        say(f"links   {len(listing.links)} passed over")
    say(f"time    {seconds:.1f} s")
    reasons = [f"failed  {each.name}: {each.reason}" for each in total.failed]
    links = [f"passed  {each.name}: {each.reason}" for each in listing.links]
    for lines in (reasons, [f"skipped {name}: empty" for name in total.empty], links):
        for line in lines[:MAX_LINES]:
            say(line)
        if len(lines) > MAX_LINES:
            say(f"        and {len(lines) - MAX_LINES} more")


def _show_passage(rank: int, passage: Passage) -> None:
    pages = ""
    if passage.page_start is not None:
        is_one = passage.page_start == passage.page_end
        pages = f"page {passage.page_start}" if is_one else f"pages {passage.page_start}-{passage.page_end}"
    place = ", ".join(filter(None, (passage.section, pages)))
    text = " ".join(passage.text.split())
    say(f"{rank}. {passage.score:.3f}  {passage.chunk_id}" + (f"  ({place})" if place else ""))
    say(f"   {text[:PASSAGE_CHARS]}{'…' if len(text) > PASSAGE_CHARS else ''}")
