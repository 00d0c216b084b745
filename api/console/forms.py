"""Reads the form of a write. Nothing of it is kept, no file either, before its token is right."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from starlette.requests import Request

from api.forms import Form, Intake, receive
from errors import Forbidden
from runtime.parts import Runtime
from services.ingest.uploading import IncomingFile

TOKEN = "token"  # noqa: S105  # the name of a field
FOREIGN = "This form is not of your session, or has been open too long: go back, reload the page, and send it again."


async def read_form(request: Request, form: Form, *, token: str) -> None:
    """Read the body into *form*, of which the token is then taken out. Raises Forbidden, Invalid and TooLarge."""
    runtime: Runtime = request.state.runtime
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden(FOREIGN)
    most = runtime.settings.max_batch_docs
    too_many = f"At most {most} files are accepted at once (MAX_BATCH_DOCS). Send several uploads."
    intake = _CheckedIntake(runtime.ingest.uploads, form, token)
    await receive(request, intake, form, most_files=most, too_many=too_many)
    _require_token(form, token)
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
