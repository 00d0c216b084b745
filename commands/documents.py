"""Ingest files, and search."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.common import Namespace, Tenant, complain, failed, group, note, opened, progress, say
from domain import Mode

if TYPE_CHECKING:
    from runtime.parts import Runtime
    from services.operations.folders import Outcome, Target
    from services.operations.walking import Listing
    from services.search.question import Passage

MAX_LINES = 20
PASSAGE_CHARS = 200
SUFFIXES_NAMED = 8
INTERRUPTED = 130
STOPPED = "stopped. What is counted as upserted is stored; the same command goes on, and skips what is unchanged."

GLOB = (
    "Take only these files of the folders, of any type: *.csv by name, guide/*.md by path below PATH, **/old/*.md at "
    "any depth. May be repeated."
)
Strategy = Annotated[str | None, typer.Option(help="Chunking strategy; otherwise the one that fits each type.")]
Glob = Annotated[list[str] | None, typer.Option(metavar="PATTERN", help=GLOB)]
Prefix = Annotated[str | None, typer.Option(help="Begin doc_ids with this instead of with the folder's own name.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Replace documents that came from other files of the same doc_id.")
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Follow symbolic links in the folders, wherever they lead.")
]

commands = group()


@commands.command()
def ingest(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files, of any type; folders.")],
    *,
    tenant: Tenant,
    namespace: Namespace,
    strategy: Strategy = None,
    enrich: Annotated[bool, typer.Option(help="Embed each chunk with its file's name and headings.")] = True,
    glob: Glob = None,
    prefix: Prefix = None,
    replace: Replace = False,
    follow_links: FollowLinks = False,
) -> None:
    """Ingest files into a namespace. Unchanged files are not embedded again.

    Of folders: PDF, DOCX, PPTX, XLSX, HTML, EPUB, EML, CSV, TSV, JSON, .txt .text .md .markdown .rst, and text of a
    suffix that says nothing (README.Debian) or of none; each also within a .gz. No logs, no XML, no hidden files, and
    nothing behind a symbolic link. Their text is stored, the files are not. A document's id is the path of its file
    from the given folder's own name on (docs/a.md), so "docs", "./docs" and "." inside it are the same. A file that
    was removed from the folder stays in the namespace.
    """
    from services.operations.folders import Target
    from services.operations.walking import Selection, find_files

    started = time.monotonic()
    note(f"looking for files in {', '.join(map(str, paths))}")
    listing = find_files(paths, Selection(glob or [], follow_links), prefix=prefix)
    if listing.files:
        first = listing.files[0].doc_id
        note(f"{len(listing.files)} files for {tenant}/{namespace}; the first doc_id is {first}")
    with opened(context) as runtime:
        target = Target(tenant, namespace, strategy, enrich, replace)
        total = _ingested(runtime, listing, target, started)
    if not total.files:
        note("There are no such files: name files, or select them with --glob.")
    if total.failed:
        raise typer.Exit(1)


def _ingested(runtime: Runtime, listing: Listing, target: Target, started: float) -> Outcome:
    """What was stored before an error or Ctrl-C stays stored, and is summarized."""
    from services.operations.folders import Outcome

    total = Outcome(failed=listing.failed)
    try:
        with progress("files", len(listing.files)) as show:

            def begin(doc_id: str) -> None:
                show(total.files - len(listing.failed), doc_id)

            for outcome in runtime.operations.folders.ingest(listing.files, target, begin=begin):
                total += outcome
                show(total.files - len(listing.failed))
    except KeyboardInterrupt:
        complain(STOPPED)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        _summarize(total, listing, time.monotonic() - started)
    return total


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
    for reason, counts in listing.passed.items():
        by_suffix = [f"{number} {suffix}" for suffix, number in counts.most_common(SUFFIXES_NAMED)]
        more = ", …" if len(counts) > SUFFIXES_NAMED else ""
        say(f"passed  {counts.total()} {reason}: {', '.join(by_suffix)}{more}")
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
