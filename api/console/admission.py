"""Who may use the console: with keys whoever signs in with one, else callers on this machine, unless CONSOLE=on."""

from __future__ import annotations

from ipaddress import ip_address

from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.access import Admission, refuse_restricted
from domain import ANYONE, Principal, Scope
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


def admit(runtime: Runtime, session: str | None, any_of: tuple[Scope, ...]) -> Principal:
    """Who makes a visit; *session* is the cookie of one. Raises Unauthenticated, Forbidden and RateLimited."""
    accounts = runtime.accounts
    if accounts.are_open:
        return ANYONE
    if session is None:
        raise Unauthenticated(SIGN_IN)
    principal = accounts.sessions.principal(session)
    accounts.rate_limits.hit(principal)
    if not principal.may(*any_of):
        raise Forbidden(f"This requires a key with the scope {' or '.join(any_of)}.")
    refuse_restricted(principal)
    return principal


def count_tenant(runtime: Runtime, named_tenant: str | None) -> None:
    """Without keys, count the request for the tenant that it names. Raises RateLimited."""
    if named_tenant is not None:
        runtime.accounts.rate_limits.hit_tenant(named_tenant)


def count_failure(request: Request) -> None:
    """Raises RateLimited."""
    accounts: Admission = request.state.runtime.accounts
    accounts.login_failures.hit(request.client.host if request.client else "")


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
