"""Put files in, and search."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from commands.common import Namespace, Tenant, failed, group, opened, progress, say
from domain import Mode
from services.operations.folders import Listing, Outcome, Target, find_files
from services.search.question import Passage, Question

FAILURES_SHOWN = 20
PASSAGE_CHARS = 200

commands = group()


@commands.command()
def ingest(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files, taken whatever they are; folders.")],
    *,
    tenant: Tenant,
    namespace: Namespace,
    strategy: Annotated[str | None, typer.Option(help="How to cut; else what fits each type.")] = None,
    enrich: Annotated[bool, typer.Option(help="Embed each chunk with its file's name and its headings.")] = True,
    glob: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Take these files of the folders.")] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Take what symbolic links in the folders lead to, wherever that is.")
    ] = False,
) -> None:
    """Put files into a namespace. Files that did not change are embedded no second time.

    Of folders: PDF, DOCX, PPTX, XLSX, HTML, EPUB, EML, CSV, TSV, JSON, .txt .text .md .markdown .rst, LICENSE, COPYING,
    README*; nothing hidden, and nothing behind a symbolic link. Their text is kept, the files are not. A document's id
    is the path of its file from the given folder's own name on (docs/a.md), so "docs", "./docs" and "." inside it are
    the same. A file that was removed from the folder stays in the namespace.
    """
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
        finally:  # what was stored before the disk was full, or somebody lost patience, stays stored
            _summarize(total, listing, time.monotonic() - started)
    if not total.files:
        typer.echo("There is no such file: name files, or say with --glob which ones to take.", err=True)
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
    mode: Annotated[Mode | None, typer.Option(help="How to search; SEARCH_MODE if it is left out.")] = None,
) -> None:
    """Show the passages that are nearest to QUERY."""
    if not query.strip():
        raise failed("the query is empty: say what to look for.")
    with opened(context) as runtime:
        how = mode or runtime.settings.search_mode
        answer = runtime.search.searching.search(
            Question(tenant, namespace, query.replace("\x00", " "), top_k, mode=how)
        )
    if answer.hint and answer.partition is None:
        raise failed(answer.hint)
    for rank, passage in enumerate(answer.passages, 1):
        _show_passage(rank, passage)
    if not answer.passages:
        say(answer.hint or "Nothing was found.")


def _summarize(total: Outcome, listing: Listing, seconds: float) -> None:
    done, count = total.upserted, len(listing.files) + len(listing.failed)
    skipped = done.skipped_docs + len(total.empty)
    left = f", {count - total.files} not tried" if count > total.files else ""
    empty = f" ({len(total.empty)} empty)" if total.empty else ""
    say(f"docs    {done.upserted_docs} upserted, {skipped} skipped{empty}, {len(total.failed)} failed{left}")
    say(f"chunks  {done.chunks_created}: {done.chunks_embedded} embedded, {done.chunks_reused} reused")
    if listing.links:
        say(f"links   {len(listing.links)} passed over")
    say(f"time    {seconds:.1f} s")
    reasons = [f"failed  {each.name}: {each.reason}" for each in total.failed]
    links = [f"passed  {each.name}: {each.reason}" for each in listing.links]
    for found in (reasons, [f"skipped {name}: empty" for name in total.empty], links):
        for line in found[:FAILURES_SHOWN]:
            say(line)
        if len(found) > FAILURES_SHOWN:
            say(f"        and {len(found) - FAILURES_SHOWN} more")


def _show_passage(rank: int, passage: Passage) -> None:
    pages = ""
    if passage.page_start is not None:
        is_one = passage.page_start == passage.page_end
        pages = f"page {passage.page_start}" if is_one else f"pages {passage.page_start}-{passage.page_end}"
    place = ", ".join(filter(None, (passage.section, pages)))
    text = " ".join(passage.text.split())
    say(f"{rank}. {passage.score:.3f}  {passage.chunk_id}" + (f"  ({place})" if place else ""))
    say(f"   {text[:PASSAGE_CHARS]}{'…' if len(text) > PASSAGE_CHARS else ''}")
