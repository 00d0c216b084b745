"""The installation: diagnose it, migrate it, move it to another database."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from commands.common import failed, group, opened, plain_errors, progress, say, settings_of, show_table
from errors import ServiceError

if TYPE_CHECKING:
    from services.operations.audit import AuditCheck
    from services.operations.comparing import PartComparison
    from services.operations.diagnosing import Finding
    from settings import Settings

ROWS_PER_BATCH = 1000
MAX_PROBLEMS = 20

commands = group()


@commands.command()
def doctor(context: typer.Context) -> None:
    """Check settings, versions, database, disk, folders, workers and the model. Shows no secrets."""
    problems = 0
    for finding in _findings(settings_of(context)):
        problems += not finding.is_ok
        lines = finding.detail.replace("\n", f"\n{'':22}")
        grade = "PROBLEM" if not finding.is_ok else "WARNING" if finding.is_warning else "ok"
        say(f"{grade:8}{finding.name:14}{lines}")
    if problems:
        raise failed(f"problems found: {problems}")


@commands.command()
def migrate(context: typer.Context) -> None:
    """Bring the database to this version's schema."""
    settings = settings_of(context)
    from database.engine import Database
    from migrations.upgrade import bring_up_to_date, current_revision

    with plain_errors(), Database.open(settings.database_url) as database:
        before = current_revision(database)
        bring_up_to_date(database)
        after = current_revision(database)
    say(f"schema {after}: nothing to do" if before == after else f"schema {before or 'none'} -> {after}")


@commands.command()
def move(
    context: typer.Context,
    *,
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The current database. Not changed.")],
    target: Annotated[str, typer.Option("--to", metavar="URL", help="An empty database.")],
    batch_rows: Annotated[int, typer.Option(min=1, help="Most rows to copy in one transaction.")] = ROWS_PER_BATCH,
) -> None:
    """Move the whole installation to another database, SQLite to Postgres or back. Nothing is embedded again.

    Stop the API and the workers first. Run the same command again to resume an interrupted move. Index files are not
    moved: the target gets rebuild jobs, and searches work before these have run. Passwords need not be in the URLs:
    Postgres also reads PGPASSWORD and its password file.
    """
    from runtime.moving import open_move

    started = time.monotonic()
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it logs failed batches, which are reported below
    with plain_errors(), open_move(settings_of(context), source=source, target=target, batch_rows=batch_rows) as moving:
        rows = moving.begin()
        with progress("rows copied", rows) as show:
            for count in moving.copy():
                show(count)
        with progress("rows compared", 2 * rows) as show:
            compared = moving.compare(show)
        show_table(["part", "rows", "checksum", "in the target", "checksum", ""], [_row_of(part) for part in compared])
        queued = moving.finish(compared)
    say(f"moved {rows} rows in {time.monotonic() - started:.1f} s; {queued} rebuild jobs wait for a worker")
    say("Now set DATABASE_URL to the target, and start the API and a worker.")


@commands.command()
def audit(
    context: typer.Context,
    *,
    verify: Annotated[bool, typer.Option("--verify", help="Check the chain of all rows instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest rows to show.")] = 50,
) -> None:
    """Show who changed what, the newest first, or check that no row was changed or removed."""
    with opened(context) as runtime:
        service = runtime.operations.audit
        if verify:
            _show_check(service.verify())
            return
        rows = [
            (row.number, f"{row.at:%Y-%m-%d %H:%M:%S}", row.actor, row.action, row.tenant_id or "-", row.object)
            for row in service.page(limit=limit)
        ]
    show_table(["number", "at", "actor", "action", "team", "object"], rows)


def _show_check(check: AuditCheck) -> None:
    for problem in check.problems[:MAX_PROBLEMS]:
        say(problem)
    if check.problems:
        raise failed(f"the audit log was tampered with: {len(check.problems)} problems in {check.rows} rows")
    say(f"{check.rows} rows, number {check.first} to {check.last}: the chain is whole; hash of the last: {check.head}")


def _findings(settings: Settings) -> Iterator[Finding]:
    from runtime.opening import open_runtime
    from services.operations.diagnosing import Finding, versions, without_secrets

    lines = [
        f"{name.upper()}={without_secrets(name, value)}"
        for name, value in settings
        if name in settings.model_fields_set
    ]
    yield Finding("settings", "\n".join([f"{len(lines)} set, the others have their defaults", *lines]))
    yield Finding("versions", versions())
    try:
        with open_runtime(settings) as runtime:
            yield from runtime.operations.diagnosing.examine()
    except ServiceError as error:
        yield Finding("database", str(error), is_ok=False)
    except Exception as error:
        # A driver that is not installed or a server that is down is a finding too.
        yield Finding("database", f"{type(error).__name__}: {error}".partition("\n")[0], is_ok=False)


def _row_of(part: PartComparison) -> tuple[object, ...]:
    verdict = "same" if part.is_equal else "DIFFERS"
    return part.part, part.source.rows, part.source, part.target.rows, part.target, verdict
