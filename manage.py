"""The operator's command line: put files in, search, look after indexes and jobs, find out what is wrong.

    python manage.py ingest docs/ --tenant acme --namespace handbook

It works on the database itself, whether or not the API runs, and reads the same settings from the environment.
It ends with 0 when all is well, 1 when something is not, 2 when a setting or the command line cannot be understood.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from database import Database
from errors import ServiceError
from job_queue import FINISHED
from migrations.upgrade import bring_up_to_date, current_revision
from models import Job, JobStatus, utc_now
from runtime import Runtime, open_move, open_runtime
from services.comparing import Compared
from services.diagnosing import NO_WORKER, Finding, versions, without_secrets
from services.ingesting_files import Outcome, Target, find_files
from services.moving import ROWS_PER_BATCH
from services.search import Passage, Question
from services.verifying import Verdict
from settings import Settings

FAILURES_SHOWN = 20
PASSAGE_CHARS = 200
POLL_SECONDS = 0.5
SECONDS_PER_LINE = 5.0

Tenant = Annotated[str, typer.Option("--tenant", help="Whose documents: the API's tenant_id.")]
Namespace = Annotated[str, typer.Option("--namespace", help="Which of the tenant's collections.")]

app = typer.Typer(
    help="The operator's command line. Settings come from the environment.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # which keeps the line breaks of this file
    pretty_exceptions_enable=False,  # they show local variables, and with them secrets
)


@app.callback()
def main(
    context: typer.Context,
    *,
    database_url: Annotated[str | None, typer.Option(metavar="URL", help="Instead of DATABASE_URL.")] = None,
) -> None:
    context.obj = database_url


@app.command()
def ingest(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files, taken whatever they are; folders.")],
    *,
    tenant: Tenant,
    namespace: Namespace,
    strategy: Annotated[str | None, typer.Option(help="How to cut; else what fits each type.")] = None,
    enrich: Annotated[bool, typer.Option(help="Embed each chunk with its file's name and its headings.")] = True,
    glob: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Take these files of the folders.")] = None,
) -> None:
    """Put files into a namespace. Files that did not change are embedded no second time.

    Of folders: PDF, DOCX, PPTX, XLSX, HTML, EPUB, EML, CSV, TSV, JSON, .txt .text .md .markdown .rst, LICENSE, COPYING,
    README*; nothing hidden. Their text is kept, the files are not. A document's id is the path of its file from the
    given folder's own name on (docs/a.md), so "docs", "./docs" and "." inside it are the same. A file that was removed
    from the folder stays in the namespace.
    """
    started = time.monotonic()
    files, failed = find_files(paths, glob or [])
    with _opened(context) as runtime:
        total = Outcome(failed=tuple(failed))
        target = Target(tenant, namespace, strategy, enrich)
        try:
            with _progress("files", len(files)) as show:
                for outcome in runtime.files.ingest(files, target):
                    total += outcome
                    show(total.files - len(failed))
        finally:  # what was stored before the disk was full, or somebody lost patience, stays stored
            _summarize(total, len(files) + len(failed), time.monotonic() - started)
    if not total.files:
        typer.echo("There is no such file: name files, or say with --glob which ones to take.", err=True)
    if total.failed:
        raise typer.Exit(1)


@app.command()
def search(
    context: typer.Context,
    query: str,
    *,
    tenant: Tenant,
    namespace: Namespace,
    top_k: Annotated[int, typer.Option(min=1, help="Most passages to show.")] = 5,
) -> None:
    """Show the passages that are nearest to QUERY."""
    if not query.strip():
        raise _failed("the query is empty: say what to look for.")
    with _opened(context) as runtime:
        answer = runtime.searching.search(Question(tenant, namespace, query.replace("\x00", " "), top_k))
    if answer.hint:
        raise _failed(answer.hint)
    for rank, passage in enumerate(answer.passages, 1):
        _show_passage(rank, passage)
    if not answer.passages:
        _say("The namespace is empty.")


@app.command()
def stats(
    context: typer.Context,
    *,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Only of this name.")] = None,
) -> None:
    """Show what is indexed, and how many jobs there are."""
    with _opened(context) as runtime:
        indexes = runtime.observing.index_stats(tenant_id=tenant, namespace=namespace)
        jobs = runtime.queue.stats()
    rows = [
        (
            f"{each.tenant_id}/{each.namespace}",
            each.embedding_version,
            each.live_docs,
            each.ntotal,
            each.checkpoint_ntotal,
            f"{each.covered_seq}/{each.seq}",
            each.problem or "",
        )
        for each in indexes
    ]
    _show_table(["namespace", "embedding version", "docs", "chunks", "in checkpoint", "covers seq", "problem"], rows)
    _say("jobs: " + ", ".join(f"{count} {status}" for status, count in jobs.items()))


@app.command()
def rebuild(
    context: typer.Context,
    *,
    tenant: Tenant,
    namespace: Namespace,
    reembed: Annotated[bool, typer.Option("--reembed", help="Make the vectors anew, with this model.")] = False,
    new_embedding_version: Annotated[str | None, typer.Option(help="With --reembed: its new name.")] = None,
    wait: Annotated[bool, typer.Option(help="Stay until the job has ended.")] = False,
) -> None:
    """Queue a rebuild of a namespace's index for a worker, and print the job's id."""
    with _opened(context) as runtime:
        job_id = runtime.jobs.rebuild(tenant, namespace, reembed=reembed, new_version=new_embedding_version)
        _say(job_id)
        if wait:
            job = _wait(runtime, job_id)
            _say(f"{job.status}" + (f": {job.error}" if job.error else ""))
            if job.status != JobStatus.COMPLETED:
                raise typer.Exit(1)


@app.command()
def jobs(
    context: typer.Context,
    *,
    status: Annotated[JobStatus | None, typer.Option(help="Only these.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Only these: ingest_docs, rebuild_index.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to show.")] = 20,
) -> None:
    """Show the jobs, the newest first."""
    with _opened(context) as runtime:
        found = runtime.queue.page(limit=limit, status=status, type=kind)
    rows = [
        (
            job.job_id,
            job.type,
            f"{team.name}/{project.name}",
            job.status,
            f"{job.progress} %",
            job.attempts,
            _age((utc_now() - job.created_at).total_seconds()),
            job.error or "",
        )
        for job, project, team in found
    ]
    _show_table(["id", "type", "namespace", "status", "progress", "tries", "age", "error"], rows)


@app.command()
def cancel(context: typer.Context, job_id: str) -> None:
    """Cancel a job: one that waits at once, one that runs at its next step."""
    with _opened(context) as runtime:
        job = runtime.jobs.cancel(job_id)
    if job.status in (JobStatus.COMPLETED, JobStatus.FAILED):
        raise _failed(f"job {job_id} has ended before: {job.status}.")
    _say("cancelled" if job.status == JobStatus.CANCELLED else "is running: it will end at its next step")


@app.command()
def verify(context: typer.Context) -> None:
    """Compare database, checkpoint and what came since, for every namespace. Changes nothing."""
    with _opened(context) as runtime:
        were_clean = [_show_verdict(verdict) for verdict in runtime.verifying.verify()]
    if not all(were_clean):
        raise _failed(f"{were_clean.count(False)} of {len(were_clean)} namespaces have problems.")
    _say(f"{len(were_clean)} namespaces clean")


@app.command()
def doctor(context: typer.Context) -> None:
    """Examine settings, versions, database, disk, folders, workers and the model. Shows no secret."""
    problems = 0
    for finding in _findings(_settings(context)):
        problems += not finding.is_ok
        lines = finding.told.replace("\n", f"\n{'':22}")
        _say(f"{'ok' if finding.is_ok else 'PROBLEM':8}{finding.name:14}{lines}")
    if problems:
        raise _failed(f"problems found: {problems}")


@app.command()
def migrate(context: typer.Context) -> None:
    """Bring the database to the schema of this code."""
    settings = _settings(context)
    with _plain_errors(), Database.open(settings.database_url) as database:
        before = current_revision(database)
        bring_up_to_date(database)
        after = current_revision(database)
    _say(f"schema {after}: nothing to do" if before == after else f"schema {before or 'none'} -> {after}")


@app.command()
def move(
    context: typer.Context,
    *,
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The database that is there. Not changed.")],
    target: Annotated[str, typer.Option("--to", metavar="URL", help="An empty database.")],
    batch_rows: Annotated[int, typer.Option(min=1, help="Most rows to copy in one transaction.")] = ROWS_PER_BATCH,
) -> None:
    """Take the whole installation to another database, SQLite to Postgres or back. Nothing is embedded anew.

    Stop API and workers first. A move that was cut goes on when the same command is run again. Index files stay
    behind: rebuild jobs wait in the target, and searches answer from the start on. A password need not stand in a
    URL: Postgres also takes PGPASSWORD or its password file.
    """
    started = time.monotonic()
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it remarks on a failed batch, which is told below
    with _plain_errors(), open_move(_settings(context), source=source, target=target, batch_rows=batch_rows) as moving:
        rows = moving.begin()
        with _progress("rows copied", rows) as show:
            for done in moving.copy():
                show(done)
        with _progress("rows compared", 2 * rows) as show:
            compared = moving.compare(show)
        _show_table(["part", "rows", "checksum", "in the target", "checksum", ""], [_row_of(part) for part in compared])
        queued = moving.finish(compared)
    _say(f"moved {rows} rows in {time.monotonic() - started:.1f} s; {queued} rebuild jobs wait for a worker")
    _say("Now set DATABASE_URL to the target, and start the API and a worker.")


def _settings(context: typer.Context) -> Settings:
    given = {"database_url": context.obj} if context.obj else {}
    try:
        return Settings(**given)
    except ValidationError as error:
        for each in error.errors():
            _complain(f"{str(each['loc'][0]).upper()}={each['input']!r} is not allowed: {each['msg']}.")
        raise typer.Exit(2) from None


@contextmanager
def _opened(context: typer.Context) -> Iterator[Runtime]:
    with _plain_errors(), open_runtime(_settings(context)) as runtime:
        yield runtime


@contextmanager
def _plain_errors() -> Iterator[None]:
    """What the service says on purpose is for the operator: one line, no traceback."""
    try:
        yield
    except ServiceError as error:
        raise _failed(str(error)) from error


def _failed(why: str) -> typer.Exit:
    _complain(why)
    return typer.Exit(1)


def _complain(why: str) -> None:
    typer.echo(f"error: {_printable(' '.join(why.split()))}", err=True)


def _say(line: str) -> None:
    typer.echo("\n".join(map(_printable, line.split("\n"))))


def _printable(text: str) -> str:
    """Without what would steer the terminal, or what it cannot write: names and texts come from anybody."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows how many are done on stderr: a bar on a terminal, elsewhere a line every few seconds."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bars:
            task = bars.add_task(what, total=total)
            yield lambda done: bars.update(task, completed=done)
        return
    said = time.monotonic()

    def show(done: int) -> None:
        nonlocal said
        if time.monotonic() - said >= SECONDS_PER_LINE:
            said = time.monotonic()
            typer.echo(f"{what}: {done} of {total}", err=True)

    yield show


def _summarize(total: Outcome, count: int, seconds: float) -> None:
    done = total.done
    skipped = done.skipped_docs + len(total.empty)
    left = f", {count - total.files} not tried" if count > total.files else ""
    empty = f" ({len(total.empty)} empty)" if total.empty else ""
    _say(f"docs    {done.upserted_docs} upserted, {skipped} skipped{empty}, {len(total.failed)} failed{left}")
    _say(f"chunks  {done.chunks_created}: {done.chunks_embedded} embedded, {done.chunks_reused} reused")
    _say(f"time    {seconds:.1f} s")
    reasons = [f"failed  {each.name}: {each.reason}" for each in total.failed]
    for found in (reasons, [f"skipped {name}: empty" for name in total.empty]):
        for line in found[:FAILURES_SHOWN]:
            _say(line)
        if len(found) > FAILURES_SHOWN:
            _say(f"        and {len(found) - FAILURES_SHOWN} more")


def _show_passage(rank: int, passage: Passage) -> None:
    pages = ""
    if passage.page_start is not None:
        is_one = passage.page_start == passage.page_end
        pages = f"page {passage.page_start}" if is_one else f"pages {passage.page_start}-{passage.page_end}"
    place = ", ".join(filter(None, (passage.section, pages)))
    text = " ".join(passage.text.split())
    _say(f"{rank}. {passage.score:.3f}  {passage.chunk_id}" + (f"  ({place})" if place else ""))
    _say(f"   {text[:PASSAGE_CHARS]}{'…' if len(text) > PASSAGE_CHARS else ''}")


def _show_verdict(verdict: Verdict) -> bool:
    """Returns whether it is clean."""
    sign = "PROBLEM" if verdict.problems else "ok"
    held = f"{verdict.live_docs} docs, {verdict.live_chunks} chunks"
    index = f"{verdict.checkpoint_chunks} in the checkpoint, {verdict.tail_changes} changes since"
    _say(f"{sign:8}{verdict.tenant_id}/{verdict.namespace}: {held}, {index}")
    for problem in verdict.problems:
        _say(f"{'':8}{problem}")
    return not verdict.problems


def _show_table(titles: list[str], rows: Sequence[tuple[object, ...]]) -> None:
    """What does not fit a narrow terminal is wrapped by it: ids and statuses cut short are of no use."""
    console = Console(markup=False, highlight=False, emoji=False)
    console.width = max(console.width, 140) if console.is_terminal else 1000
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, no_wrap=title != titles[-1])
    for row in rows:
        table.add_row(*(_printable(" ".join(str(each).split())) for each in row))
    console.print(table)


def _row_of(part: Compared) -> tuple[object, ...]:
    verdict = "same" if part.is_equal else "DIFFERS"
    return part.part, part.source.rows, part.source, part.target.rows, part.target, verdict


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _wait(runtime: Runtime, job_id: str) -> Job:
    """The job once it has ended. Whoever stops waiting does not stop the job."""
    has_complained = False
    with _progress("rebuild", 100) as show:
        while True:
            job, _, _ = runtime.queue.get(job_id)
            show(job.progress)
            if job.status in FINISHED:
                return job
            if job.status == JobStatus.PENDING and not has_complained and not runtime.diagnosing.has_worker():
                typer.echo(NO_WORKER, err=True)
                has_complained = True
            time.sleep(POLL_SECONDS)


def _findings(settings: Settings) -> Iterator[Finding]:
    told = [
        f"{name.upper()}={without_secrets(name, value)}"
        for name, value in settings
        if name in settings.model_fields_set
    ]
    yield Finding("settings", "\n".join([f"{len(told)} set, the others have their defaults", *told]))
    yield Finding("versions", versions())
    try:
        with open_runtime(settings) as runtime:
            yield from runtime.diagnosing.examine()
    except ServiceError as error:
        yield Finding("database", str(error), is_ok=False)
    except Exception as error:
        # A driver that is not installed, a server that is away: told as a finding, like all that ails the rest.
        yield Finding("database", f"{type(error).__name__}: {error}".partition("\n")[0], is_ok=False)


if __name__ == "__main__":
    app()
