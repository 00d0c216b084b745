"""Templates to HTML. Everything is escaped, and no page runs or loads what does not come from here."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from version import VERSION
from web import TEMPLATES

POLICY = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
NOTHING = "\u2013"
_STEPS = ((86_400, "d"), (3600, "h"), (60, "min"))


def rendered(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(version=VERSION, now=lambda: datetime.now(UTC))
    environment.filters.update(
        number=_number, moment=_moment, ago=_ago, span=_span, as_json=_as_json, size=_size, short=_short
    )
    return environment


def _number(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}".replace(",", "\u202f")


def _moment(value: datetime | None) -> str:
    return NOTHING if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _ago(value: datetime | None) -> str:
    return NOTHING if value is None else f"{_span((datetime.now(UTC) - value).total_seconds())} ago"


def _span(seconds: float | None) -> str:
    """A length of time in its largest unit, which is enough at a glance."""
    if seconds is None:
        return NOTHING
    for length, unit in _STEPS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def _size(value: int) -> str:
    amount = float(value)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def _short(text: str | None, length: int = 8) -> str:
    return NOTHING if text is None else text if len(text) <= length else f"{text[:length]}…"
