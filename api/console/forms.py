"""Reads the form of a write. Nothing of it is kept, no file either, before its token is right."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from api.console.visits import Visit
from api.forms import Form, Intake, receive
from api.problems import errors_in_body
from errors import Forbidden
from services.index.names import check_name
from services.ingest.uploading import IncomingFile

TOKEN = "token"  # noqa: S105  # the name of a field
FOREIGN = "This form is not of your session, or has been open too long: go back, reload the page, and send it again."

Model = TypeVar("Model", bound=BaseModel)


async def read_form(visit: Visit, form: Form) -> None:
    """Read the body into *form*, of which the token is then taken out. Raises Forbidden, Invalid and TooLarge."""
    if visit.request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden(FOREIGN)
    most = visit.runtime.settings.max_batch_docs
    too_many = f"At most {most} files are accepted at once (MAX_BATCH_DOCS). Send several uploads."
    intake = _CheckedIntake(visit.runtime.ingest.uploads, form, visit.token)
    await receive(visit.request, intake, form, most_files=most, too_many=too_many)
    _require_token(form, visit.token)
    del form.fields[TOKEN]


@dataclass(frozen=True)
class _CheckedIntake:
    """Takes files once the form has brought its token, which stands before them."""

    intake: Intake
    form: Form
    token: str

    def begin(self, filename: str, declared: str = "") -> IncomingFile:
        _require_token(self.form, self.token)
        return self.intake.begin(filename, declared)


def _require_token(form: Form, token: str) -> None:
    if not any(hmac.compare_digest(sent.encode(), token.encode()) for sent in form.fields.get(TOKEN, [])):
        raise Forbidden(FOREIGN)


def as_body(visit: Visit, model: type[Model], values: dict[str, Any]) -> Model:
    """The values in the form in which the API takes them. Raises Invalid and RequestValidationError."""
    for field in ("tenant_id", "namespace"):
        if values.get(field) is not None:
            check_name(field, values[field], visit.runtime.settings.max_name_chars)
    try:
        return model.model_validate(values, context={"principal": visit.principal})
    except ValidationError as error:
        raise RequestValidationError(errors_in_body(error)) from error
