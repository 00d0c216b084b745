"""Whose the files and vector stores of a request are: a team that is there, or that comes into being with them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from models import Team
from services.index import namespaces
from services.index.names import check_new_name


@dataclass(frozen=True, slots=True)
class Tenants:
    """*are_created*: as AUTH_MODE=open has it."""

    name_chars: int
    are_created: bool

    def team(self, session: Session, tenant_id: str) -> Team:
        """Raises NotFound."""
        if not self.are_created:
            return namespaces.require_team(session, tenant_id)
        check_new_name("tenant_id", tenant_id, self.name_chars)
        return namespaces.locked_team(session, tenant_id)
