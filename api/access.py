"""Who calls, whether they may, and which tenant exists for them: every route goes through here.

A route declares with @needs which scopes open it; one that declares nothing cannot be made. With AUTH_MODE=keys a
tenant that is not the caller's own is replaced by a name that no tenant has: from there on the request is handled as
one for a tenant that does not exist, with the same answer in the same time.

A key that sees a part of its team's documents opens only routes that take its restriction (dependencies.py), so that a
new route cannot forget it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from domain import ANYONE, STRANGER, Principal, Scope
from errors import Forbidden, ServiceError, Unauthenticated
from services.accounts.authentication import Authenticator
from services.accounts.rate_limits import FailureLimiter, Quota, RateLimiter
from text.restriction import restriction_of

NO_KEY = "This requires an API key: send the header Authorization: Bearer adf_…"
SECURITY_SCHEMES = {
    "ApiKey": {"type": "http", "scheme": "bearer", "description": "Only with AUTH_MODE=keys"},
    "LibreChat": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A token of LibreChat's"},
}


class Admission(Protocol):
    """The parts of the accounts wing that admit a caller."""

    are_open: bool
    authentication: Authenticator
    rate_limits: RateLimiter
    login_failures: FailureLimiter


Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def needs(first: Scope, *others: Scope) -> Callable[[Endpoint], Endpoint]:
    """Stands below the route's own decorator: a key with one of these scopes may call the route."""
    return _declare((first, *others))


def open_to_strangers(endpoint: Endpoint) -> Endpoint:
    """Instead of @needs: a request without a valid key is admitted too, as STRANGER."""
    return _declare(())(endpoint)


def needed_by(endpoint: Callable[..., Any]) -> tuple[Scope, ...]:
    """Empty: the route is open to strangers."""
    declared: tuple[Scope, ...] | None = vars(endpoint).get("any_of")
    if declared is None:
        raise TypeError(f"{endpoint.__module__}.{endpoint.__name__} does not say who may call it: add @needs.")
    return declared


def applies_restriction(dependency: Endpoint) -> Endpoint:
    """A route that takes the *dependency* is open to keys that see a part of their team's documents."""
    vars(dependency)["applies_restriction"] = True
    return dependency


def admits_restricted(dependencies: Iterable[Callable[..., Any] | None]) -> bool:
    """Whether a route that takes these *dependencies* does."""
    return any("applies_restriction" in getattr(each, "__dict__", {}) for each in dependencies)


def as_openapi(any_of: tuple[Scope, ...]) -> dict[str, Any]:
    """Each alternative by itself; the empty one means that no key is required."""
    return {"security": [{"ApiKey": [scope.value]} for scope in any_of] or [{}, {"ApiKey": []}]}


async def admit(request: Request, any_of: tuple[Scope, ...]) -> tuple[Principal, Quota | None]:
    """Raises Unauthenticated, Forbidden and RateLimited."""
    accounts: Admission = request.state.runtime.accounts
    if accounts.are_open:
        return ANYONE, None
    try:
        principal = await _identified(request, accounts)
    except ServiceError as error:
        if not any_of:
            return STRANGER, None
        if isinstance(error, Unauthenticated):
            await count_failure(request, accounts)
        raise
    limits = accounts.rate_limits
    quota = limits.hit(principal) if limits.is_local else await run_in_threadpool(limits.hit, principal)
    require(principal, any_of)
    return principal, quota


def require(principal: Principal, any_of: tuple[Scope, ...]) -> None:
    """Raises Forbidden unless *principal* has one of these scopes, or none is needed."""
    if any_of and not principal.may(*any_of):
        raise Forbidden(f"This requires a key with the scope {' or '.join(any_of)}.")


def refuse_restricted(principal: Principal) -> None:
    """For a route that does not know restrictions. Raises Forbidden."""
    if restriction_of(principal) is not None:
        raise Forbidden(
            "A key with filters or namespaces searches, asks, measures and reads documents; this takes a key without."
        )


async def admit_tenants(request: Request, names: Callable[[], Iterable[str | None]]) -> None:
    """Without keys, count the request for each tenant that it names. Raises RateLimited."""
    accounts: Admission = request.state.runtime.accounts
    limits = accounts.rate_limits
    if not accounts.are_open or not limits.is_on:
        return
    for name in dict.fromkeys(filter(None, names())):
        hit = limits.hit_tenant
        request.state.quota = hit(name) if limits.is_local else await run_in_threadpool(hit, name)


async def require_still_valid(request: Request) -> None:
    """For an answer that goes on for long. Raises Unauthenticated once the key is revoked or has expired."""
    accounts: Admission = request.state.runtime.accounts
    if not accounts.are_open:
        await _identified(request, accounts)


def _declare(any_of: tuple[Scope, ...]) -> Callable[[Endpoint], Endpoint]:
    def declare(endpoint: Endpoint) -> Endpoint:
        vars(endpoint)["any_of"] = any_of
        return endpoint

    return declare


async def count_failure(request: Request, accounts: Admission) -> None:
    """The address is the peer's or, behind a trusted proxy, the one that the proxy reports."""
    failures, address = accounts.login_failures, request.client.host if request.client else ""
    if failures.is_local:
        failures.hit(address)
    else:
        await run_in_threadpool(failures.hit, address)


async def _identified(request: Request, accounts: Admission) -> Principal:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Unauthenticated(NO_KEY)
    authentication, key = accounts.authentication, key.strip()
    principal = authentication.cached(key)
    return principal if principal is not None else await run_in_threadpool(authentication.look_up, key)
