"""Show the settings: the values in effect, or docs/settings.md, the page of all settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from commands.common import group, markdown_table, say, settings_of, show_table

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

commands = group()

INTRODUCTION = """\
# Settings

Every setting is an environment variable, or a line `NAME=value` of the file `.env` in the folder in which a process is
started; the environment wins. They are read once, at the start. The API, the workers and `manage.py` must agree on
`DATABASE_URL`, `INDEX_DIR` and `BLOB_STORE_URL`; relative paths start at that folder too, and a process that creates a
database says where. The embedding model is [the installation's](operating.md#start-the-processes). A wrong value stops
the start, and so does a misspelt name in `.env`; one in the environment is a warning. `python manage.py settings` shows
what is set, without secrets.

This page is generated from settings.py: `python manage.py settings --markdown > docs/settings.md`."""

BLOB_STORES = """\
An `s3://` store reads the variables that every S3 client reads (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY` and others), a `gs://` store those of Google's clients. Plain HTTP works for an endpoint on
this machine; for any other endpoint set `AWS_ALLOW_HTTP` to true. Give the bucket a lifecycle rule that aborts
incomplete multipart uploads after a few days: a process that dies during an upload leaves its parts behind."""

LIMITS = "[Limits](limits.md) says what happens beyond each of these, and which limits are fixed."

SCRIPTS = """\
`script/server` also reads `PORT` (8000), and `script/environment` reads `PYTHON`, the Python that creates `.venv`.
In `script/server` the default of `EMBED_DEFAULT_MODEL` is the bundled `sentence-transformers/all-MiniLM-L6-v2`."""


@dataclass(frozen=True, slots=True)
class SettingsSection:
    """The settings from *first* up to the next section's, in the order of settings.py."""

    title: str
    first: str
    note: str = ""


SECTIONS = (
    SettingsSection("Database", "database_url"),
    SettingsSection("Accounts and rate limits", "auth_mode"),
    SettingsSection("Embedding model", "embed_model_name"),
    SettingsSection("Search and reranking", "search_mode"),
    SettingsSection("Answers", "llm_base_url"),
    SettingsSection("Query log", "query_log"),
    SettingsSection("Files", "blob_store_url", BLOB_STORES),
    SettingsSection("Erasure", "keep_deleted_days"),
    SettingsSection("Chunks and indexes", "chunk_tokens"),
    SettingsSection("Jobs and workers", "job_lease_seconds"),
    SettingsSection("LibreChat", "librechat_jwt_secret"),
    SettingsSection("Connections", "cors_origins"),
    SettingsSection("Limits", "max_body_mb", LIMITS),
    SettingsSection("Metrics", "metrics_port"),
    SettingsSection("Logging and scripts", "log_level", SCRIPTS),
)


@commands.command()
def settings(
    context: typer.Context,
    *,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md instead.")] = False,
) -> None:
    """Show the value in effect of every setting. Shows no secrets."""
    if as_markdown:
        typer.echo(markdown())
        return
    from services.operations.diagnosing import without_secrets

    values = settings_of(context)
    show_table(["setting", "value"], [(name.upper(), without_secrets(name, value)) for name, value in values])
    say(f"{len(values.model_fields_set)} of them are set; the others have their defaults")


def markdown() -> str:
    """The text of docs/settings.md, without the newline at its end."""
    return "\n\n".join([INTRODUCTION, *map(_written, SECTIONS)])


def _written(section: SettingsSection) -> str:
    rows = [(f"`{name.upper()}`", _default(field), _description(field)) for name, field in _fields_of(section)]
    text = f"## {section.title}\n\n{markdown_table(('Variable', 'Default', 'Description'), rows)}"
    return f"{text}\n\n{section.note}" if section.note else text


def _fields_of(section: SettingsSection) -> Iterator[tuple[str, FieldInfo]]:
    from settings import Settings

    begins = {each.first for each in SECTIONS}
    is_inside = False
    for name, field in Settings.model_fields.items():
        is_inside = name == section.first or (is_inside and name not in begins)
        if is_inside:
            yield name, field


def _default(field: FieldInfo) -> str:
    from pydantic import SecretStr

    value: Any = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, Path) and not value.is_absolute() and not str(value).startswith("~"):
        return f"`./{value}`"
    return f"`{value}`" if value != "" else "empty"


def _description(field: FieldInfo) -> str:
    """With the allowed values, if they are a list."""
    if get_origin(field.annotation) is not Literal:
        return str(field.description)
    choices = ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    return f"{field.description} ({choices})"
