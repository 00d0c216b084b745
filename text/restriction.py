"""What of its team's documents an API key may see, and the caller that such a key stands for. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from domain import Principal
from text.filters import All, Fields, Filter, matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Restriction:
    """The documents that *filters* matches, in one of *namespaces*; None: all. To its key there are no others."""

    filters: Filter | None = None
    namespaces: frozenset[str] | None = None

    def __and__(self, other: Restriction) -> Restriction:
        """What both let see."""
        if self.namespaces is None or other.namespaces is None:
            common = other.namespaces if self.namespaces is None else self.namespaces
        else:
            common = self.namespaces & other.namespaces
        return Restriction(filters=self.narrowed(other.filters), namespaces=common)

    def narrowed(self, filters: Filter | None) -> Filter | None:
        """What also matches *filters*."""
        if self.filters is None or filters is None:
            return filters if self.filters is None else self.filters
        return All((self.filters, filters))

    def includes(self, namespace: str) -> bool:
        return self.namespaces is None or namespace in self.namespaces

    def shows(self, fields: Fields) -> bool:
        """Whether a document, or a chunk, with these fields may be seen."""
        return self.filters is None or matches(self.filters, fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestrictedPrincipal(Principal):
    """The caller of a key that sees a part of its team's documents. It only reads."""

    restriction: Restriction


def restriction_of(principal: Principal) -> Restriction | None:
    return principal.restriction if isinstance(principal, RestrictedPrincipal) else None
