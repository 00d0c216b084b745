"""A request of the console as its screens see it: who asks, about which namespace, and how they answer."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlencode

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.console.rendering import HEADERS, rendered
from api.forms import Form
from api.problems import errors_in_body
from api.tenants import visible
from domain import STRANGER, Principal, Scope
from errors import Invalid
from runtime.parts import Runtime
from services.accounts.sessions import SESSION_SECONDS
from services.index.names import check_name

Model = TypeVar("Model", bound=BaseModel)

COOKIE = "console"
VISITOR = "visitor"
"""What the cookie of a browser without a session begins with."""
_TOKEN = b"token of a form"


def cookie_of(request: Request) -> str:
    """A browser that brings no cookie gets one: tokens of forms are made from it."""
    return request.cookies.get(COOKIE) or new_visitor()


def new_visitor() -> str:
    return f"{VISITOR}-{secrets.token_urlsafe(24)}"


@dataclass(frozen=True)
class Visit:
    """*cookie* is the session, or what stands for none. *form* is what a write brought, its token checked.
    *is_nowhere*: the names of a tenant and a namespace in the request are not looked at.
    """

    request: Request
    cookie: str
    principal: Principal = STRANGER
    form: Form = field(default_factory=Form)
    is_nowhere: bool = False

    def with_form(self, form: Form) -> Visit:
        return replace(self, form=form)

    @property
    def runtime(self) -> Runtime:
        runtime: Runtime = self.request.state.runtime
        return runtime

    @property
    def is_open(self) -> bool:
        return self.runtime.accounts.are_open

    @property
    def is_partial(self) -> bool:
        """Whether a part of a page, which renews itself, asks."""
        return "hx-request" in self.request.headers

    @property
    def cookie_of_session(self) -> bool:
        return not self.cookie.startswith(VISITOR)

    @property
    def token(self) -> str:
        """What every form of this browser has to bring: another site can have the cookie sent, and cannot read it."""
        return hmac.new(self.cookie.encode(), _TOKEN, hashlib.sha256).hexdigest()

    def may(self, *any_of: str) -> bool:
        return self.principal.may(*map(Scope, any_of))

    # What is asked for

    def value(self, name: str) -> str | None:
        """A field of the form, else a parameter of the URL; None if it is empty."""
        sent = self.form.fields.get(name)
        return (sent[0] if sent else self.request.query_params.get(name)) or None

    def required(self, name: str) -> str:
        value = self.value(name)
        if value is None:
            raise Invalid(f"{name} is missing.", param=name)
        return value

    def choice(self, name: str, *choices: str) -> str | None:
        value = self.value(name)
        if value is not None and value not in choices:
            raise Invalid(f"{name} is none of {', '.join(choices)}.", param=name)
        return value

    def flag(self, name: str) -> bool:
        return self.value(name) is not None

    @cached_property
    def named_tenant(self) -> str | None:
        return self._name("tenant_id")

    @property
    def tenant(self) -> str | None:
        """The caller's own, or a name that no tenant has if they name another. None: none was named yet."""
        return visible(self.principal, self.named_tenant)

    @cached_property
    def namespace(self) -> str | None:
        return self._name("namespace")

    @property
    def place(self) -> tuple[str, str]:
        """Raises Invalid if the request names none."""
        if self.tenant is None or self.namespace is None:
            missing = "tenant_id" if self.tenant is None else "namespace"
            raise Invalid(f"{missing} is missing: choose a namespace first.", param=missing)
        return self.tenant, self.namespace

    @property
    def carried(self) -> dict[str, str | None]:
        """What a link or a form goes on with."""
        return {"tenant_id": self.named_tenant, "namespace": self.namespace}

    def where_it_can_be(self) -> Visit:
        """The same visit, or one without a place if the request names one that no place can have."""
        try:
            _ = self.carried
        except Invalid:
            return replace(self, is_nowhere=True)
        return self

    @property
    def named_place(self) -> dict[str, str | None]:
        """As a body of the API names it: with a key, without the tenant."""
        return {name: value for name, value in self.carried.items() if value is not None or name == "namespace"}

    @property
    def address(self) -> str:
        query = self.request.url.query
        return f"{self.request.url.path}?{query}" if query else self.request.url.path

    def _name(self, field: str) -> str | None:
        name = None if self.is_nowhere else self.value(field)
        if name is not None:
            check_name(field, name, self.runtime.settings.max_name_chars)
        return name

    # What is answered

    @property
    def root(self) -> str:
        return str(self.request.scope.get("root_path", ""))

    def link(self, path: str, /, **parameters: object) -> str:
        query = urlencode({name: str(value) for name, value in parameters.items() if value is not None})
        return f"{self.root}{path}?{query}" if query else f"{self.root}{path}"

    def place_link(self, path: str, /, **parameters: object) -> str:
        """In the same namespace."""
        return self.link(path, **{**self.carried, **parameters})

    def page(self, template: str, /, *, status_code: int = 200, **values: Any) -> Response:
        return HTMLResponse(rendered(template, visit=self, status_code=status_code, **values), status_code, HEADERS)

    def redirect(self, path: str, /, **parameters: object) -> Response:
        return RedirectResponse(self.link(path, **parameters), 303, HEADERS)

    def with_cookie(self, answer: Response) -> Response:
        """Gives a browser without a cookie one; a screen that sets or ends a session has the last word."""
        if COOKIE not in self.request.cookies and "set-cookie" not in answer.headers:
            self.set_cookie(answer, self.cookie)
        return answer

    def set_cookie(self, answer: Response, value: str) -> None:
        answer.set_cookie(
            COOKIE,
            value,
            max_age=SESSION_SECONDS,
            path=f"{self.root}/console",
            secure=self.request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )


def as_body(visit: Visit, model: type[Model], values: dict[str, Any]) -> Model:
    """The values in the form in which the API takes them. Raises Invalid and RequestValidationError."""
    for name in ("tenant_id", "namespace"):
        if values.get(name) is not None:
            check_name(name, values[name], visit.runtime.settings.max_name_chars)
    try:
        return model.model_validate(values, context={"principal": visit.principal})
    except ValidationError as error:
        raise RequestValidationError(errors_in_body(error)) from error
