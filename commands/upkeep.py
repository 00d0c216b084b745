"""Look after the installation: find out what is wrong, migrate, move to another database."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from commands.common import failed, group, plain_errors, progress, say, settings_of, show_table
from database.engine import Database
from errors import ServiceError
from migrations.upgrade import bring_up_to_date, current_revision
from runtime.moving import open_move
from runtime.opening import open_runtime
from services.operations.comparing import PartComparison
from services.operations.diagnosing import Finding, versions, without_secrets
from services.operations.moving import ROWS_PER_BATCH
from settings import Settings

commands = group()


@commands.command()
def doctor(context: typer.Context) -> None:
    """Examine settings, versions, database, disk, folders, workers and the model. Shows no secret."""
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
    """Bring the database to the schema of this code."""
    settings = settings_of(context)
    with plain_errors(), Database.open(settings.database_url) as database:
        before = current_revision(database)
        bring_up_to_date(database)
        after = current_revision(database)
    say(f"schema {after}: nothing to do" if before == after else f"schema {before or 'none'} -> {after}")


@commands.command()
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
    with plain_errors(), open_move(settings_of(context), source=source, target=target, batch_rows=batch_rows) as moving:
        rows = moving.begin()
        with progress("rows copied", rows) as show:
            for done in moving.copy():
                show(done)
        with progress("rows compared", 2 * rows) as show:
            compared = moving.compare(show)
        show_table(["part", "rows", "checksum", "in the target", "checksum", ""], [_row_of(part) for part in compared])
        queued = moving.finish(compared)
    say(f"moved {rows} rows in {time.monotonic() - started:.1f} s; {queued} rebuild jobs wait for a worker")
    say("Now set DATABASE_URL to the target, and start the API and a worker.")


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
            yield from runtime.operations.diagnosing.examine()
    except ServiceError as error:
        yield Finding("database", str(error), is_ok=False)
    except Exception as error:
        # A driver that is not installed, a server that is away: told as a finding, like all that ails the rest.
        yield Finding("database", f"{type(error).__name__}: {error}".partition("\n")[0], is_ok=False)


def _row_of(part: PartComparison) -> tuple[object, ...]:
    verdict = "same" if part.is_equal else "DIFFERS"
    return part.part, part.source.rows, part.source, part.target.rows, part.target, verdict
