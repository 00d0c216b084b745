"""Reads the settings for an entry point, and says in one line each what is wrong with the environment or .env."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import DotEnvSettingsSource

from errors import ServiceError
from settings import Settings

ENV_FILE = ".env"
SIMILAR = 0.88
_PASSWORD = re.compile(r"//.*@")
OF_OURS = ("EMBED_", "RERANK_", "LLM_", "PGVECTOR_", "RATE_LIMIT_", "BLOB_STORE_", "EXTRACT_", "FETCH_", "QUERY_LOG_")
"""Beginnings of names that hardly any other program's variables have."""


class Misconfigured(ServiceError):
    """A setting is wrong. The message has a line for each."""

    code = "misconfigured"


def read_settings(**overrides: Any) -> Settings:
    """The settings of the environment, or else of the file .env in the current folder. Raises Misconfigured."""
    if problems := [f".env: {problem}" for problem in _misspelt(_names_in_file())]:
        raise Misconfigured("\n".join(problems))
    try:
        return Settings(_env_file=ENV_FILE, **overrides)
    except ValidationError as error:
        raise Misconfigured("\n".join(map(_line, error.errors()))) from None


def settings_or_exit(program: str, **overrides: Any) -> Settings:
    """The same for a program's main: ends it with 2 where a setting is wrong."""
    try:
        return read_settings(**overrides)
    except Misconfigured as error:
        sys.stderr.writelines(f"{program}: {line}\n" for line in str(error).splitlines())
        sys.exit(2)


def misspelt_names() -> list[str]:
    """What to say about variables of the environment. They may be another program's, so none stops the start."""
    return list(_misspelt(os.environ))


def _names_in_file() -> Iterable[str]:
    try:
        return list(DotEnvSettingsSource(Settings, env_file=ENV_FILE).env_vars)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Misconfigured(f"The file {Path(ENV_FILE).absolute()} cannot be read: {reason}.") from error


def _misspelt(names: Iterable[str]) -> Iterator[str]:
    known = [name.upper() for name in Settings.model_fields]
    for name in sorted({each.upper() for each in names}):
        if name in known:
            continue
        prefix = next((each for each in OF_OURS if name.startswith(each)), "")
        likely = [each for each in known if each.startswith(prefix)]
        if nearest := get_close_matches(name, likely, n=1, cutoff=0.0 if prefix else SIMILAR):
            yield f"{name} is not a setting: is {nearest[0]} meant?"


def _line(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    is_secret = "SecretStr" in str(Settings.model_fields[name].annotation)
    value = "***" if is_secret else _PASSWORD.sub("//***@", repr(error["input"]))
    reason = str(error["msg"]).removeprefix("Value error, ")
    return f"{name.upper()}={value} is not allowed: {reason}."
