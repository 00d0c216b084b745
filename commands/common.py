"""What every command of manage.py shares: settings, an opened runtime, errors of one line, tables and progress.

Modules of commands import the service inside their functions: only the command that runs waits for it, --help does not.
"""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from domain import JobStatus
from errors import ServiceError
from logs import actor

if TYPE_CHECKING:
    from runtime.parts import Runtime
    from services.ingest.jobs import JobInfo
    from settings import Settings

SECONDS_PER_LINE = 5.0
POLL_SECONDS = 0.5

Tenant = Annotated[str, typer.Option("--tenant", help="The tenant: the API's tenant_id.")]
Namespace = Annotated[str, typer.Option("--namespace", help="One of the tenant's collections.")]


def group() -> typer.Typer:
    """A group of commands."""
    return typer.Typer(rich_markup_mode=None, add_completion=False)


def settings_of(context: typer.Context) -> Settings:
    from configuration import Misconfigured, misspelt_names, read_settings

    _act_as_operator()
    overrides = {"database_url": context.obj} if context.obj else {}
    for each in misspelt_names():
        typer.echo(f"warning: {each}", err=True)
    try:
        return read_settings(**overrides)
    except Misconfigured as error:
        for line in str(error).splitlines():
            complain(line)
        raise typer.Exit(2) from None


@contextmanager
def opened(context: typer.Context) -> Iterator[Runtime]:
    settings = settings_of(context)
    from runtime.opening import open_runtime

    with plain_errors(), open_runtime(settings) as runtime:
        yield runtime


def _act_as_operator() -> None:
    """In the audit log; where the machine has no name for the user, it is the number."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    actor.set(f"manage.py:{user}")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show a ServiceError as one line, without a traceback."""
    try:
        yield
    except ServiceError as error:
        raise failed(str(error)) from error


def failed(reason: str) -> typer.Exit:
    complain(reason)
    return typer.Exit(1)


def complain(reason: str) -> None:
    typer.echo(f"error: {_printable(' '.join(reason.split()))}", err=True)


def note(line: str) -> None:
    """On stderr: what a person wants to see and a script does not."""
    typer.echo(_printable(line), err=True)


def say(line: str) -> None:
    typer.echo("\n".join(map(_printable, line.split("\n"))))


def _printable(text: str) -> str:
    """Without control characters, and without what the terminal cannot write: names and texts are anybody's."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


class Show(Protocol):
    """Shows how many are done, and the name of the current one."""

    def __call__(self, count: int, name: str = "") -> None: ...


@contextmanager
def progress(label: str, total: int) -> Iterator[Show]:
    """Show progress, rate and time left on stderr: a bar on a terminal, elsewhere a line every few seconds."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if console.is_terminal:
        name = TextColumn("{task.fields[name]}", markup=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), name)
        with Progress(*columns, console=console, transient=True) as bars:
            task = bars.add_task(label, total=total, name="")
            yield lambda count, name="": bars.update(task, completed=count, name=_printable(name))
        return
    started = last_line_at = time.monotonic()

    def show(count: int, name: str = "") -> None:
        nonlocal last_line_at
        now = time.monotonic()
        if now - last_line_at >= SECONDS_PER_LINE:
            last_line_at = now
            note(f"{label}: {count} of {total}{_pace(count, total, now - started)}" + (f", {name}" if name else ""))

    yield show


def _pace(count: int, total: int, seconds: float) -> str:
    if not count or seconds <= 0:
        return ""
    rate = count / seconds
    return f", {rate:.1f} per second, {age((total - count) / rate)} left"


def wait_for(runtime: Runtime, job_id: str, *, label: str) -> JobInfo:
    """The job once it has ended. Ctrl-C stops the waiting, not the job."""
    from job_queue import FINISHED
    from services.operations.workers import NO_WORKER

    has_warned = False
    with progress(label, 100) as show:
        while True:
            job = runtime.ingest.jobs.get(job_id)
            show(job.progress)
            if job.status in FINISHED:
                return job
            if job.status == JobStatus.PENDING and not has_warned and not runtime.operations.workers.is_any_alive():
                typer.echo(NO_WORKER, err=True)
                has_warned = True
            time.sleep(POLL_SECONDS)


def show_table(titles: list[str], rows: Sequence[tuple[object, ...]]) -> None:
    """A narrow terminal wraps long rows: truncated ids and statuses are useless."""
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False, emoji=False)
    console.width = max(console.width, 140) if console.is_terminal else 1000
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, no_wrap=title != titles[-1])
    for row in rows:
        table.add_row(*(_printable(" ".join(str(each).split())) for each in row))
    console.print(table)


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same for a page."""
    head, *lines = (f"| {' | '.join(cells)} |" for cells in (titles, *rows))
    return "\n".join([head, f"|{'---|' * len(titles)}", *lines])


def age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
