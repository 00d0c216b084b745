"""Show the limits: those in effect, or the page of all there are, docs/limits.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, get_args

import typer

from commands.common import group, markdown_table, say, settings_of, show_table

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from commands.limit_bounds import Bound, Section
    from settings import Settings

commands = group()

INTRODUCTION = """\
# Limits

What the service limits, and what happens beyond each limit. Those that name a variable are [settings](settings.md),
shown with their defaults; `≤` is the largest value that the setting may have. `python manage.py limits` shows the
limits in effect, [Errors](errors.md) explains status codes, and `/openapi.json` states the limit of every field, with
the setting as `x-setting`.

This page is generated: `python manage.py limits --markdown > docs/limits.md`."""

TITLES = ("What is limited", "Limit", "Set by", "Beyond it")
UNITS = {
    "kb": "KB",
    "mb": "MB",
    "bytes": "bytes",
    "chars": "characters",
    "tokens": "tokens",
    "seconds": "s",
    "hours": "hours",
    "days": "days",
}


@commands.command()
def limits(
    context: typer.Context,
    *,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/limits.md instead.")] = False,
) -> None:
    """Show every limit in effect, which setting it is, and what happens beyond it."""
    if as_markdown:
        typer.echo(markdown())
        return
    settings = settings_of(context)
    for section in _sections():
        say(f"\n{section.title}")
        rows = (_cells(bound, settings) for bound in section.bounds)
        show_table(list(TITLES), [tuple(cell.replace("`", "") for cell in cells) for cells in rows])


def markdown() -> str:
    """The text of docs/limits.md, without the newline at its end: the defaults, whatever this process is set to."""
    return "\n\n".join([INTRODUCTION, *map(_written, _sections())])


def _sections() -> tuple[Section, ...]:
    """Imported here, since the models of all requests come with them: no other command needs those."""
    from commands import limits_rows as rows
    from commands.limits_of_doors import DOORS
    from commands.limits_of_events import EVENTS
    from commands.limits_of_openai import OPENAI
    from commands.limits_of_operating import ACCOUNTS, ERASURE, JOBS, PROCESSES

    return (
        *(rows.CONNECTIONS, rows.BODIES, rows.NAMES, rows.DOCUMENTS, rows.FILES, rows.SEARCH, rows.ANSWERS),
        *(DOORS, OPENAI, rows.VERSIONS, ACCOUNTS, JOBS, EVENTS, ERASURE, PROCESSES),
    )


def _written(section: Section) -> str:
    from settings import Settings

    defaults = Settings.model_construct()
    note = f"{section.note}\n\n" if section.note else ""
    rows = [_cells(bound, defaults) for bound in section.bounds]
    return f"## {section.title}\n\n{note}{markdown_table(TITLES, rows)}"


def _cells(bound: Bound, settings: Settings) -> tuple[str, str, str, str]:
    return bound.subject, _amount(bound, settings), _set_by(bound), bound.beyond


def _amount(bound: Bound, settings: Settings) -> str:
    if not _is_setting(bound.value):
        return _with_unit(bound.value, bound.unit)
    name = str(bound.value)
    value = getattr(settings, name)
    if value == "" or (value == 0 and "0: no limit" in str(_fields()[name].description)):
        return "none"
    return value if isinstance(value, str) else _with_unit(value * bound.times, UNITS.get(name.split("_")[-1], ""))


def _with_unit(value: str | float, unit: str) -> str:
    amount = value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:g}"
    return f"{amount} {unit}".strip()


def _set_by(bound: Bound) -> str:
    if not _is_setting(bound.value):
        return "fixed"
    name = str(bound.value)
    times = f"{bound.times} times " if bound.times != 1 else ""
    largest = _largest(name)
    return f"{times}`{name.upper()}`" + (f" ≤ {largest:,}" if largest is not None else "")


def _is_setting(value: str | float) -> bool:
    return _fields().get(str(value)) is not None


def _largest(name: str) -> int | None:
    """What the setting itself may be at the most."""
    field = _fields()[name]
    bounds = [*field.metadata, *get_args(field.annotation)]
    return next((each.le for each in bounds if getattr(each, "le", None) is not None), None)


def _fields() -> dict[str, FieldInfo]:
    from settings import Settings

    return Settings.model_fields
