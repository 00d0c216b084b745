"""The operator's command line, installed as datafactory: ingest, search, manage indexes, jobs and accounts, diagnose.

    datafactory ingest docs/ --tenant acme --namespace handbook

It works on the database itself, whether or not the API runs, and reads the same settings. It exits with 0 on success, 1
on failure, 2 if a setting or the command line is invalid. The commands are in commands/, group by group.
"""

from __future__ import annotations

import gc
import sys
from typing import Annotated

gc.set_threshold(50_000, 20, 20)  # what is imported stays: looking through it after every 700 objects delays the start

try:
    import typer
except ModuleNotFoundError as error:
    sys.exit(f"manage.py: this Python has no {error.name}. Run script/environment once, then .venv/bin/datafactory")

from commands import (
    accounts,
    backups,
    documents,
    erasing,
    indexes,
    jobs,
    limits_page,
    measuring,
    portability,
    reading,
    serving,
    settings_page,
    upkeep,
    versions,
)

app = typer.Typer(
    help="The operator's command line. Settings come from the environment and from the file .env in this folder.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # keeps the line breaks of this file
    pretty_exceptions_enable=False,  # they would show local variables, secrets among them
)
for each in (
    documents,
    reading,
    measuring,
    indexes,
    versions,
    jobs,
    accounts,
    upkeep,
    backups,
    erasing,
    portability,
    serving,
    settings_page,
    limits_page,
):
    app.add_typer(each.commands)


@app.callback()
def main(
    context: typer.Context,
    *,
    database_url: Annotated[str | None, typer.Option(metavar="URL", help="Instead of DATABASE_URL.")] = None,
) -> None:
    context.obj = database_url


if __name__ == "__main__":
    app()
