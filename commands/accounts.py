"""Teams, their projects and their API keys. The operator needs no key: the command works on the database itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.common import Namespace, failed, group, opened, say, show_table
from domain import ANYONE, Scope

if TYPE_CHECKING:
    from services.accounts.api_keys import KeyInfo

MAX_ROWS = 10_000

_MAY_PROMPT = typer.Option(
    "--allow-system-prompt/--forbid-system-prompt", help="Whether questions may have a system_prompt of their own."
)

Team = Annotated[str, typer.Option("--team", help="The team: the API's tenant_id.")]
Prompt = Annotated[str | None, typer.Option(help="The system prompt of the team's questions.")]
MayPrompt = Annotated[bool, _MAY_PROMPT]
Filters = Annotated[
    str | None, typer.Option(help="The key sees only documents that match: filters of a search, as JSON.")
]
Namespaces = Annotated[list[str] | None, typer.Option("--namespace", help="The key sees only it. May be repeated.")]

commands = group()


@commands.command()
def create_team(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The API's tenant_id.")],
    *,
    system_prompt: Prompt = None,
    allow_system_prompt: MayPrompt = True,
) -> None:
    """Create a team."""
    with opened(context) as runtime:
        runtime.accounts.teams.create_team(name, system_prompt=system_prompt, allow_system_prompt=allow_system_prompt)
    say(f"team {name} created; its first key: python manage.py issue-key --team NAME --scope admin")


@commands.command()
def change_team(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The API's tenant_id.")],
    *,
    system_prompt: Prompt = None,
    allow_system_prompt: Annotated[bool | None, _MAY_PROMPT] = None,
) -> None:
    """Change the given settings of a team. With an empty --system-prompt, the installation's applies."""
    from services.accounts.teams import UNCHANGED, TeamChange

    change = TeamChange(
        UNCHANGED if system_prompt is None else system_prompt,
        UNCHANGED if allow_system_prompt is None else allow_system_prompt,
    )
    if change == TeamChange():
        raise failed("this changes nothing: give --system-prompt, --allow-system-prompt or --forbid-system-prompt")
    with opened(context) as runtime:
        runtime.accounts.teams.change_team(name, change)
    say(f"team {name} changed")


@commands.command()
def list_teams(context: typer.Context) -> None:
    """Show the teams and their projects."""
    rows: list[tuple[object, ...]] = []
    with opened(context) as runtime:
        for team in runtime.accounts.teams.teams(limit=MAX_ROWS):
            projects = runtime.accounts.teams.projects(team.tenant_id, limit=MAX_ROWS)
            names = ", ".join(each.namespace for each in projects)
            rows.append((team.tenant_id, f"{team.created_at:%Y-%m-%d}", names))
    show_table(["team", "created", "projects"], rows)


@commands.command()
def create_project(context: typer.Context, *, team: Team, namespace: Namespace) -> None:
    """Create an empty namespace, under the current embedding version. Loads the model."""
    with opened(context) as runtime:
        project = runtime.accounts.teams.create_project(team, namespace)
    say(f"namespace {team}/{namespace} created, under {project.embedding_version}")


@commands.command()
def issue_key(
    context: typer.Context,
    *,
    team: Team,
    scope: Annotated[list[Scope], typer.Option(help="May be repeated.")],
    name: Annotated[str, typer.Option(help="A note on what the key is for.")] = "",
    days: Annotated[int | None, typer.Option(min=1, help="Validity in days; otherwise until it is revoked.")] = None,
    filters: Filters = None,
    namespace: Namespaces = None,
) -> None:
    """Create a key of a team and print it, once: it is stored nowhere.

    Scopes: search searches and reads; ingest stores and deletes; admin does both and manages the team's projects and
    keys; operator manages all teams. With --filters or --namespace the key only reads, and sees nothing else.
    """
    from models import utc_now
    from times import shifted

    expires_at = shifted(utc_now(), days=days) if days else None
    limits: dict[str, Any] = {"filters": _filters(filters), "namespaces": namespace}
    with opened(context) as runtime:
        issued = runtime.accounts.keys.issue(team, name=name, scopes=scope, expires_at=expires_at, by=ANYONE, **limits)
    _show_new(issued.key)


@commands.command()
def derive_key(
    context: typer.Context,
    key_id: str,
    *,
    seconds: Annotated[int, typer.Option(help="How long it is valid; at most a day.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="search and ingest at most. May be repeated.")] = None,
    filters: Filters = None,
    namespace: Namespaces = None,
) -> None:
    """Derive a short-lived key from another, which may do and sees less, and print it. It is stored nowhere.

    Needs the DERIVED_KEY_SECRET of the APIs that are to accept it.
    """
    from services.accounts.deriving import Narrowing

    narrowing = Narrowing(seconds=seconds, scopes=scope, filters=_filters(filters), namespaces=namespace)
    with opened(context) as runtime:
        team = runtime.accounts.keys.team_of(key_id)
        derived = runtime.accounts.deriving.derive(team, key_id, narrowing, by=ANYONE)
    typer.echo(f"valid until {derived.expires_at:%Y-%m-%d %H:%M:%S} UTC", err=True)
    say(derived.key)


@commands.command()
def list_keys(context: typer.Context, *, team: Team) -> None:
    """Show the keys of a team, expired and revoked ones too."""
    with opened(context) as runtime:
        rows = [_row(key) for key in runtime.accounts.keys.page(team, limit=MAX_ROWS)]
    show_table(["id", "status", "scopes", "sees", "created", "expires", "last used", "name"], rows)


@commands.command()
def rotate_key(
    context: typer.Context,
    key_id: str,
    *,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the old key stays valid.")] = 24,
) -> None:
    """Create another key like this one and print it, once; the old one expires later."""
    with opened(context) as runtime:
        team = runtime.accounts.keys.team_of(key_id)
        rotated = runtime.accounts.keys.rotate(team, key_id, overlap_seconds=3600 * overlap_hours, by=ANYONE)
    say(f"{key_id} is valid until {rotated.replaces.expires_at:%Y-%m-%d %H:%M} UTC")
    _show_new(rotated.key)


@commands.command()
def revoke_key(context: typer.Context, key_id: str) -> None:
    """Revoke a key. Running APIs learn of it within AUTH_TRUST_SECONDS."""
    with opened(context) as runtime:
        runtime.accounts.keys.revoke(runtime.accounts.keys.team_of(key_id), key_id, by=ANYONE)
    say("revoked")


def _show_new(key: str) -> None:
    typer.echo("This key is shown only once; keep it safe:", err=True)
    say(key)


def _row(key: KeyInfo) -> tuple[object, ...]:
    times = [f"{time:%Y-%m-%d %H:%M}" if time else "-" for time in (key.created_at, key.expires_at, key.last_used_at)]
    limits = [f"namespaces {', '.join(key.namespaces)}"] if key.namespaces is not None else []
    limits += [json.dumps(key.filters, ensure_ascii=False)] if key.filters is not None else []
    return key.key_id, key.status, " ".join(key.scopes), "; ".join(limits) or "all", *times, key.name


def _filters(text: str | None) -> dict[str, Any] | None:
    from text import strict_json

    if text is None:
        return None
    try:
        filters = strict_json.loads(text.encode())
    except (strict_json.NotJson, UnicodeEncodeError) as error:
        raise failed(f"--filters is not valid JSON ({error})") from error
    if not isinstance(filters, dict):
        raise failed('--filters takes a JSON object, such as {"department": "hr"}')
    return filters
