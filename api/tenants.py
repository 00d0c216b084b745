"""Which tenant exists for whom."""

from __future__ import annotations

import secrets
from typing import TypedDict

from domain import Principal

NOBODY = secrets.token_hex(8)
"""A name that no tenant has."""


class BodyContext(TypedDict):
    """What a body is validated with: the tenant that it names has to be visible to who sent it."""

    principal: Principal


def visible(principal: Principal, tenant_id: str | None) -> str | None:
    """The tenant that a request is about: the caller's own, or NOBODY. None: the request has to name one."""
    own = principal.tenant_id
    if own is None:
        return tenant_id
    return own if tenant_id in (None, own) else NOBODY
