"""Teams, their projects and their API keys. The operator needs no key: whoever may run this has the database."""

from __future__ import annotations

from typing import Annotated

import typer

from commands.common import Namespace, failed, group, opened, say, show_table
from domain import ANYONE, Scope
from models import utc_now
from services.accounts.api_keys import KeyInfo
from services.accounts.teams import UNCHANGED, TeamChange
from times import shifted

MOST_ROWS = 10_000

_MAY_PROMPT = typer.Option(
    "--allow-system-prompt/--forbid-system-prompt", help="Whether a question may bring a system_prompt of its own."
)

Team = Annotated[str, typer.Option("--team", help="Whose: the API's tenant_id.")]
Prompt = Annotated[str | None, typer.Option(help="What a language model is told first.")]
MayPrompt = Annotated[bool, _MAY_PROMPT]

commands = group()


@commands.command()
def create_team(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The API's tenant_id.")],
    *,
    system_prompt: Prompt = None,
    allow_system_prompt: MayPrompt = True,
) -> None:
    """Make a team."""
    with opened(context) as runtime:
        runtime.accounts.teams.create_team(name, system_prompt=system_prompt, allow_system_prompt=allow_system_prompt)
    say(f"team {name} made; its first key: python manage.py issue-key --team NAME --scope admin")


@commands.command()
def change_team(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The API's tenant_id.")],
    *,
    system_prompt: Prompt = None,
    allow_system_prompt: Annotated[bool | None, _MAY_PROMPT] = None,
) -> None:
    """Change what is given of a team; an empty --system-prompt leaves it with the installation's."""
    change = TeamChange(
        UNCHANGED if system_prompt is None else system_prompt,
        UNCHANGED if allow_system_prompt is None else allow_system_prompt,
    )
    if change == TeamChange():
        raise failed("nothing is to be changed: give --system-prompt, --allow-system-prompt or --forbid-system-prompt")
    with opened(context) as runtime:
        runtime.accounts.teams.change_team(name, change)
    say(f"team {name} changed")


@commands.command()
def list_teams(context: typer.Context) -> None:
    """Show the teams and their projects."""
    rows: list[tuple[object, ...]] = []
    with opened(context) as runtime:
        for team in runtime.accounts.teams.teams(limit=MOST_ROWS):
            projects = runtime.accounts.teams.projects(team.tenant_id, limit=MOST_ROWS)
            names = ", ".join(each.namespace for each in projects)
            rows.append((team.tenant_id, f"{team.created_at:%Y-%m-%d}", names))
    show_table(["team", "made", "projects"], rows)


@commands.command()
def create_project(context: typer.Context, *, team: Team, namespace: Namespace) -> None:
    """Make an empty namespace, under the embedding version that is set. Loads the model."""
    with opened(context) as runtime:
        project = runtime.accounts.teams.create_project(team, namespace)
    say(f"namespace {team}/{namespace} made, under {project.embedding_version}")


@commands.command()
def issue_key(
    context: typer.Context,
    *,
    team: Team,
    scope: Annotated[list[Scope], typer.Option(help="May be given more than once.")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    days: Annotated[int | None, typer.Option(min=1, help="How long it counts; else until it is revoked.")] = None,
) -> None:
    """Make a key of a team and print it, once: it is kept nowhere.

    search finds and reads, ingest puts in and takes out, admin does both and looks after the team's projects and keys,
    operator looks after all teams.
    """
    expires_at = shifted(utc_now(), days=days) if days else None
    with opened(context) as runtime:
        issued = runtime.accounts.keys.issue(team, name=name, scopes=scope, expires_at=expires_at, by=ANYONE)
    _show_new(issued.key)


@commands.command()
def list_keys(context: typer.Context, *, team: Team) -> None:
    """Show the keys of a team, those that have ended too."""
    with opened(context) as runtime:
        rows = [_row(key) for key in runtime.accounts.keys.page(team, limit=MOST_ROWS)]
    show_table(["id", "status", "scopes", "made", "expires", "last used", "name"], rows)


@commands.command()
def rotate_key(
    context: typer.Context,
    key_id: str,
    *,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the old key still counts.")] = 24,
) -> None:
    """Make another key like this one and print it, once; the old one ends later."""
    with opened(context) as runtime:
        team = runtime.accounts.keys.team_of(key_id)
        rotated = runtime.accounts.keys.rotate(team, key_id, overlap_seconds=3600 * overlap_hours, by=ANYONE)
    say(f"{key_id} counts until {rotated.replaces.expires_at:%Y-%m-%d %H:%M} UTC")
    _show_new(rotated.key)


@commands.command()
def revoke_key(context: typer.Context, key_id: str) -> None:
    """Let a key count no more. Running APIs learn of it within AUTH_TRUST_SECONDS."""
    with opened(context) as runtime:
        runtime.accounts.keys.revoke(runtime.accounts.keys.team_of(key_id), key_id, by=ANYONE)
    say("revoked")


def _show_new(key: str) -> None:
    typer.echo("This is shown once; keep it safe:", err=True)
    say(key)


def _row(key: KeyInfo) -> tuple[object, ...]:
    times = [f"{time:%Y-%m-%d %H:%M}" if time else "-" for time in (key.created_at, key.expires_at, key.last_used_at)]
    return key.key_id, key.status, " ".join(key.scopes), *times, key.name
