"""A limit and a section of them, for limits_rows.py; and how a limit is read from the code that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter


@dataclass(frozen=True, slots=True)
class Bound:
    """*value* is a setting's name, of which *times* as much is allowed, or a fixed amount, in *unit*."""

    subject: str
    value: str | float
    beyond: str
    unit: str = ""
    times: int = 1


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    bounds: tuple[Bound, ...]
    note: str = ""


def largest(model: type[BaseModel], field: str) -> int:
    """What a field of a request may be at the most, by the schema."""
    return _stated(model.model_json_schema()["properties"][field])


def _stated(schema: dict[str, Any]) -> int:
    """What the schema of a field, or of one of its alternatives, says that it may be at the most."""
    alternatives = [schema, *schema.get("anyOf", [])]
    names = ("maxLength", "maxItems", "maxProperties", "maximum")
    return next(int(each[name]) for each in alternatives for name in names if name in each)


def of_type(annotation: Any) -> int:
    return _stated(TypeAdapter(annotation).json_schema())
