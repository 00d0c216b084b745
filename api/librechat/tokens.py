"""Who calls LibreChat's routes: a user of LibreChat, whom a token names that LibreChat signed for some minutes.

No API key opens these routes, and without LIBRECHAT_JWT_SECRET nothing does, whatever AUTH_MODE is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from api.access import count_failure
from api.doors import DoorRoute
from domain import STRANGER, Principal, Scope
from errors import Unauthenticated
from services.accounts.rate_limits import Quota
from settings import Settings
from text.hashing import unfit

KEY_ID = "librechat"
"""What logs and usage call the caller: not by the user's name."""
LEEWAY_SECONDS = 10
MAX_USER_CHARS = 256
CLOSED = "LIBRECHAT_JWT_SECRET is not set, so that no token of LibreChat's is accepted."
REFUSED = (
    "This is no valid token of LibreChat's (HS256, with id and exp): LIBRECHAT_JWT_SECRET has to be its JWT_SECRET."
)


class LibreChatRoute(DoorRoute):
    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        extra = options.get("openapi_extra") or {}
        super().__init__(path, endpoint, **{**options, "openapi_extra": {**extra, "security": [{"LibreChat": []}]}})

    async def admission(self, request: Request) -> tuple[Principal, Quota | None]:
        if not self.any_of:
            return STRANGER, None
        runtime = request.state.runtime
        try:
            request.state.librechat_user = user_of(request, runtime.settings)
        except Unauthenticated:
            await count_failure(request, runtime.accounts)
            raise
        tenant = runtime.settings.librechat_tenant_id
        principal = Principal(frozenset({Scope.SEARCH, Scope.INGEST}), tenant, key_id=KEY_ID)
        limits = runtime.accounts.rate_limits
        hit = limits.hit_tenant
        return principal, hit(tenant) if limits.is_local else await run_in_threadpool(hit, tenant)


def user_of(request: Request, settings: Settings) -> str:
    """The id of LibreChat's user. Raises Unauthenticated."""
    secret = settings.librechat_jwt_secret.get_secret_value()
    if not secret:
        raise Unauthenticated(CLOSED)
    import jwt

    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        claims = jwt.decode(
            token.strip() if scheme.lower() == "bearer" else "",
            secret,
            algorithms=["HS256"],
            options={"require": ["exp"]},
            leeway=LEEWAY_SECONDS,
        )
    except jwt.PyJWTError as error:
        raise Unauthenticated(REFUSED) from error
    user = claims.get("id")
    if not isinstance(user, str) or not user.strip() or len(user) > MAX_USER_CHARS or unfit(user):
        raise Unauthenticated(REFUSED)
    return user


async def _user(request: Request) -> str:
    user: str = request.state.librechat_user
    return user


User = Annotated[str, Depends(_user)]
