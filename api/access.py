"""Who asks, whether they may, and which tenant exists for them: every route goes through here.

A route says with @needs which scopes open it; one that says nothing cannot be made. With AUTH_MODE=keys a tenant that
is not the asker's own is given a name that no tenant has: from there on the request takes the way of one for a tenant
that does not exist, to the same answer in the same time.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from domain import ANYONE, STRANGER, Principal, Scope
from errors import Forbidden, ServiceError, Unauthenticated
from runtime.parts import Runtime
from services.accounts.rate_limits import Quota

principal: ContextVar[Principal] = ContextVar("principal")

NOBODY = secrets.token_hex(8)
NO_KEY = "An API key is needed: send the header Authorization: Bearer adf_…"
SECURITY_SCHEMES = {"ApiKey": {"type": "http", "scheme": "bearer", "description": "Only with AUTH_MODE=keys"}}

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def needs(first: Scope, *others: Scope) -> Callable[[Endpoint], Endpoint]:
    """Stands below the route's own decorator. A key with one of the scopes may call it."""
    return _declare((first, *others))


def open_to_strangers(endpoint: Endpoint) -> Endpoint:
    """Instead of @needs: whoever shows no key that counts comes in too, as STRANGER."""
    return _declare(())(endpoint)


def needed_by(endpoint: Callable[..., Any]) -> tuple[Scope, ...]:
    """Empty: it is open to strangers."""
    declared: tuple[Scope, ...] | None = vars(endpoint).get("any_of")
    if declared is None:
        raise TypeError(f"{endpoint.__module__}.{endpoint.__name__} does not say who may call it: put @needs above it.")
    return declared


def as_openapi(any_of: tuple[Scope, ...]) -> dict[str, Any]:
    """Each alternative by itself; the empty one means that no key is needed."""
    return {"security": [{"ApiKey": [scope.value]} for scope in any_of] or [{}, {"ApiKey": []}]}


async def admit(request: Request, any_of: tuple[Scope, ...]) -> tuple[Principal, Quota | None]:
    """Raises Unauthenticated, Forbidden and RateLimited."""
    runtime: Runtime = request.state.runtime
    if runtime.settings.auth_mode == "open":
        return ANYONE, None
    try:
        who = await _identified(request, runtime)
    except ServiceError as error:
        if not any_of:
            return STRANGER, None
        if isinstance(error, Unauthenticated):
            await _count_failure(request, runtime)
        raise
    limits = runtime.accounts.rate_limits
    quota = limits.hit(who) if limits.is_local else await run_in_threadpool(limits.hit, who)
    if any_of and not who.may(*any_of):
        raise Forbidden(f"This takes a key with the scope {' or '.join(any_of)}.")
    return who, quota


def headers_of(quota: Quota) -> Mapping[str, str]:
    return {
        "RateLimit-Limit": str(quota.limit),
        "RateLimit-Remaining": str(quota.remaining),
        "RateLimit-Reset": str(quota.seconds),
    }


def visible(tenant_id: str | None) -> str | None:
    """The tenant that a request is about. None: it has to name one."""
    own = principal.get().tenant_id
    if own is None:
        return tenant_id
    return own if tenant_id in (None, own) else NOBODY


def _declare(any_of: tuple[Scope, ...]) -> Callable[[Endpoint], Endpoint]:
    def declare(endpoint: Endpoint) -> Endpoint:
        vars(endpoint)["any_of"] = any_of
        return endpoint

    return declare


async def _count_failure(request: Request, runtime: Runtime) -> None:
    """The address is the one that the server saw or, behind a proxy that it trusts, was given by it."""
    failures, address = runtime.accounts.login_failures, request.client.host if request.client else ""
    if failures.is_local:
        failures.hit(address)
    else:
        await run_in_threadpool(failures.hit, address)


async def _identified(request: Request, runtime: Runtime) -> Principal:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Unauthenticated(NO_KEY)
    authentication, key = runtime.accounts.authentication, key.strip()
    known = authentication.cached(key)
    return known if known is not None else await run_in_threadpool(authentication.look_up, key)
