"""The operator's command line: put files in, search, look after indexes, jobs and accounts, find out what is wrong.

    python manage.py ingest docs/ --tenant acme --namespace handbook

It works on the database itself, whether or not the API runs, and reads the same settings from the environment.
It ends with 0 when all is well, 1 when something is not, 2 when a setting or the command line cannot be understood.
The commands are in commands/, group by group.
"""

from __future__ import annotations

from typing import Annotated

import typer

from commands import accounts, documents, indexes, jobs, limits_page, measuring, settings_page, upkeep

app = typer.Typer(
    help="The operator's command line. Settings come from the environment.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # which keeps the line breaks of this file
    pretty_exceptions_enable=False,  # they show local variables, and with them secrets
)
for each in (documents, measuring, indexes, jobs, accounts, upkeep, settings_page, limits_page):
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
