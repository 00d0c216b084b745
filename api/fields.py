"""What the fields of a body may be, beside the strings of strings.py, and how strictly a body is read."""

from __future__ import annotations

from base64 import b64decode
from typing import Annotated, Any, cast

import numpy as np
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import no_info_plain_validator_function

from api.limits import MAX_ERRORS_LISTED
from api.strings import as_json, as_name, at_most
from api.tenants import BodyContext, visible
from services.ingest.own_chunks import MAX_DIMENSIONS
from text.filter_spellings import MAX_CONDITIONS, parse
from text.filters import Filter
from times import storable

REQUIRED = "Field required"
LONGEST_BASE64 = (4 * MAX_DIMENSIONS + 2) // 3 * 4
LEFT_OUT = "May be left out where an API key says it"


def _tenant(value: Any, info: ValidationInfo) -> Any:
    if value is not None and not isinstance(value, str):
        return value
    context = cast(BodyContext, info.context)
    tenant = visible(context["principal"], value and as_name(value))
    if tenant is None:
        raise PydanticCustomError("missing", REQUIRED)
    return tenant


def _filter(value: Any) -> Filter | None:
    return parse(as_json(value))


TenantInBody = Annotated[
    str,
    BeforeValidator(_tenant),
    at_most("max_name_chars", minLength=1),
    Field(default_factory=lambda: None, validate_default=True, description=LEFT_OUT),
]
"""A tenant as a body names it, or NOBODY if it is not visible to the caller: no body takes one in any other way."""

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Numbers = Annotated[list[Number], Field(fail_fast=True, max_length=MAX_DIMENSIONS)]


class Base64Vector(BaseModel):
    """The numbers as little-endian float32, in base64: a quarter of the length of digits."""

    model_config = ConfigDict(extra="forbid")

    base64: Annotated[str, Field(json_schema_extra={"format": "byte"})]


def _vector(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """A base64 vector becomes an array, without a number of Python's for each of its own."""
    if not isinstance(value, dict):
        return validate(value)
    text = value.get("base64")
    if len(value) != 1 or not isinstance(text, str) or len(text) > LONGEST_BASE64:
        raise PydanticCustomError(
            "vector", f'Send an array of numbers, or {{"base64": "…"}} of {MAX_DIMENSIONS} at most'
        )
    try:
        content = b64decode(text, validate=True)
    except ValueError as error:
        raise PydanticCustomError("vector", "This is not base64, with its padding") from error
    if len(content) % 4:
        raise PydanticCustomError("vector", "The bytes are not float32: their number is no multiple of 4")
    numbers = np.frombuffer(content, "<f4")
    return numbers if np.isfinite(numbers).all() else validate(numbers.tolist())


Vector = Annotated[_Numbers, WrapValidator(_vector, json_schema_input_type=_Numbers | Base64Vector)]
_FiltersIn = Annotated[dict[str, Any], Field(max_length=MAX_CONDITIONS)] | None
Filters = Annotated[
    Filter | None,
    GetPydanticSchema(
        lambda _source, handler: no_info_plain_validator_function(_filter, json_schema_input_schema=handler(_FiltersIn))
    ),
]
"""A filter, as parsed. A PlainValidator would publish the classes of the tree in the OpenAPI document."""


def _checked_filter(value: Any) -> Any:
    _filter(value)
    return value


KeyFilters = Annotated[
    dict[str, Any] | None,
    GetPydanticSchema(
        lambda _source, handler: no_info_plain_validator_function(
            _checked_filter, json_schema_input_schema=handler(_FiltersIn)
        )
    ),
]
"""A filter as it was sent, refused as in a search."""

UnparsedFilters = Annotated[dict[str, Any], Field(max_length=MAX_CONDITIONS), AfterValidator(as_json)]
"""The same as it was sent, for a job, which parses it when it runs."""

UtcTime = Annotated[AwareDatetime, AfterValidator(storable)]
"""A time with its zone, converted to UTC, refused where it could not be stored."""


class RequestBody(BaseModel):
    """An unknown field is refused: a misspelt ``filters`` must not search everything."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, value: Any) -> Any:
        """Each unknown field is named by an error of its own; of thousands the number is enough."""
        known = cls.__pydantic_fields__
        if isinstance(value, dict) and len(value) > len(known) + MAX_ERRORS_LISTED:
            message = "This object has {fields} fields, and there are {known}: see /docs for them."
            raise PydanticCustomError("too_many_fields", message, {"fields": len(value), "known": len(known)})
        return value
