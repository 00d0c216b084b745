"""Who may use the console: with keys whoever signs in with one, else callers on this machine, unless CONSOLE=on."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.access import Admission, refuse_restricted
from api.console.visits import Visit
from domain import ANYONE, Scope
from errors import Forbidden, Unauthenticated
from runtime.parts import Runtime

PATH = "/console"
SIGN_IN = "Sign in with an API key."
NOT_HERE = (
    "Without keys (AUTH_MODE=open) the console is only for callers on this machine. Open it there, at "
    "http://localhost; set AUTH_MODE=keys and sign in with a key; or set CONSOLE=on, to open it to whoever reaches "
    "this port."
)


def require_console(request: Request) -> None:
    """Raises HTTPException where there is no console, and Forbidden where it is not for this caller."""
    runtime: Runtime = request.state.runtime
    choice = runtime.settings.console
    if choice == "off":
        raise HTTPException(404, "The console is off (CONSOLE=off).")
    if choice == "auto" and runtime.accounts.are_open and not is_local(request):
        raise Forbidden(NOT_HERE)


def is_local(request: Request) -> bool:
    """By the address of the caller, and by the name under which they call: a foreign page may have its own name point
    here, and a proxy on this machine calls for others.
    """
    host = request.url.hostname or ""
    return _is_loopback(request.client.host if request.client else "") and (host == "localhost" or _is_loopback(host))


def admit(visit: Visit, any_of: tuple[Scope, ...]) -> Visit:
    """The visit with who makes it. Raises Unauthenticated, Forbidden and RateLimited."""
    accounts = visit.runtime.accounts
    if accounts.are_open:
        return replace(visit, principal=ANYONE)
    if not visit.cookie_of_session:
        raise Unauthenticated(SIGN_IN)
    principal = accounts.sessions.principal(visit.cookie)
    accounts.rate_limits.hit(principal)
    if not principal.may(*any_of):
        raise Forbidden(f"This requires a key with the scope {' or '.join(any_of)}.")
    refuse_restricted(principal)
    return replace(visit, principal=principal)


def count_tenant(visit: Visit) -> None:
    """Without keys, count the request for the tenant that it names. Raises RateLimited."""
    if visit.named_tenant is not None:
        visit.runtime.accounts.rate_limits.hit_tenant(visit.named_tenant)


def count_failure(request: Request) -> None:
    """Raises RateLimited."""
    accounts: Admission = request.state.runtime.accounts
    accounts.login_failures.hit(request.client.host if request.client else "")


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
