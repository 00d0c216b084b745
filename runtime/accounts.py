"""The accounts wing: teams, keys, authentication, rate limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from database.engine import Database
from runtime.parts import Accounts
from services.accounts.api_keys import KeyService
from services.accounts.authentication import Authenticator
from services.accounts.derived_keys import KeySigner
from services.accounts.deriving import DerivingService
from services.accounts.rate_limits import FailureLimiter, RateLimiter
from services.accounts.sessions import SessionService
from services.accounts.teams import AccountService
from services.index.embedding import EmbeddingService
from settings import Settings


@contextmanager
def open_accounts(settings: Settings, database: Database, embedding: EmbeddingService) -> Iterator[Accounts]:
    signer = KeySigner(settings.derived_key_secret.get_secret_value())
    with Authenticator.running(database, trust_seconds=settings.auth_trust_seconds, signer=signer) as authentication:
        yield Accounts(
            are_open=settings.auth_mode == "open",
            teams=AccountService(database, embedding, settings.max_name_chars),
            keys=KeyService(database, authentication.forget),
            deriving=DerivingService(database, signer),
            authentication=authentication,
            sessions=SessionService(database, authentication),
            rate_limits=_rate_limiter(settings),
            login_failures=_failure_limiter(settings),
        )


def _rate_limiter(settings: Settings) -> RateLimiter:
    return RateLimiter(
        per_key=settings.rate_limit_per_key,
        per_team=settings.rate_limit_per_team,
        per_tenant=settings.rate_limit_per_tenant,
        url=settings.rate_limit_url,
    )


def _failure_limiter(settings: Settings) -> FailureLimiter:
    per_minute = settings.auth_failures_per_minute if settings.auth_mode == "keys" else 0
    return FailureLimiter(per_minute=per_minute, url=settings.rate_limit_url)
