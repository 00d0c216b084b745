"""The kinds of strings in requests. Every field has one of them, and the schema says so.

A name is looked up exactly as it is. A line is shown among others. A text may have any number of lines; its NUL
characters are dropped, or replaced by U+FFFD if it is stored. In other strings they are refused. Lone surrogates are
not characters: see StrictRequest.

A limit that is a setting is x-setting in the schema until App.openapi() replaces it by its value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Json

from api.limits import MAX_METADATA_KEYS as MAX_KEYS
from settings import Settings
from text import strict_json
from text.hashing import REPLACEMENT, unfit
from text.nesting import strings_in

LONGEST_CURSOR = 10_000


def at_most(setting: str, **more: Any) -> Any:
    """The longest length is a *setting*, which a service checks."""
    return Field(json_schema_extra={"x-setting": setting.upper(), **more})


def as_name(value: str) -> str:
    _refuse(unfit(value))
    return value


def _line(value: str) -> str:
    _refuse(unfit(value, is_line=True))
    return value


def without_nul(value: str) -> str:
    return value.replace("\x00", "")


def _stored_text(value: str) -> str:
    """Offsets into it are those of the text as it was sent."""
    return value.replace("\x00", REPLACEMENT)


def as_json(value: Any) -> Any:
    for each in strings_in(value):
        _refuse(unfit(each))
    return value


def _parsed(value: str) -> Any:
    try:
        return strict_json.loads(value)
    except strict_json.NotJson as error:
        raise ValueError(f"This is not valid JSON ({error}).") from error


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise ValueError(f"It {reason}: take it out.")


Word = Annotated[str, Field(max_length=100), AfterValidator(_line)]
Title = Annotated[str, Field(max_length=1000), AfterValidator(_line)]
Line = Annotated[str, AfterValidator(_line)]
Name = Annotated[str, AfterValidator(as_name), at_most("max_name_chars", minLength=1)]
DocName = Annotated[str, AfterValidator(as_name), at_most("max_doc_id_chars", minLength=1)]
Key = Annotated[str, Field(max_length=1000), AfterValidator(as_name)]
DocKey = Annotated[str, Field(max_length=LONGEST_CURSOR), AfterValidator(as_name)]
DocText = Annotated[str, AfterValidator(_stored_text), at_most("max_text_chars")]
QueryText = Annotated[str, AfterValidator(without_nul), at_most("max_query_chars")]
SystemPrompt = Annotated[str, Field(max_length=20_000), AfterValidator(without_nul)]
JsonObject = Annotated[dict[str, Any], Field(max_length=MAX_KEYS), AfterValidator(as_json)]
JsonInForm = Annotated[JsonObject, BeforeValidator(_parsed, json_schema_input_type=Json[JsonObject])]
"""A field of a form that is a JSON object."""


def with_limits(schema: Any, settings: Settings) -> None:
    """Put the value of each x-setting into *schema*, in place."""
    for each in schemas_in(schema):
        if "x-setting" in each:
            each[_LIMITS[each["type"]]] = getattr(settings, each["x-setting"].lower())


_LIMITS = {"string": "maxLength", "integer": "maximum", "array": "maxItems"}


def schemas_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of an OpenAPI document."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from schemas_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from schemas_in(each)
