"""Restrictions of API keys: what one may be, and the caller that a key with one stands for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from domain import Json, Principal, Scope
from errors import Invalid
from text.filter_spellings import parse
from text.filters import PAGE, Filter, conditions
from text.restriction import RestrictedPrincipal, Restriction

READS = frozenset({Scope.SEARCH})
"""The scopes that a key with a restriction can have: whoever writes learns too much of what is there already."""

MAX_FILTER_BYTES = 16_384


def restriction_from(filters: Json | None, namespaces: Sequence[str] | None) -> Restriction | None:
    """Of a filter and names of namespaces as they were sent; None: there is none. Raises Invalid as a search does."""
    parsed = parse(filters)
    if parsed is None and namespaces is None:
        return None
    return Restriction(filters=parsed, namespaces=None if namespaces is None else frozenset(namespaces))


def check_restriction(filters: Json | None, namespaces: Sequence[str] | None) -> Restriction | None:
    """The same for a new key. Raises Invalid."""
    restriction = restriction_from(filters, namespaces)
    if namespaces is not None and not namespaces:
        raise Invalid(
            "namespaces is empty, so the key would see nothing: name one, or leave it out.", param="namespaces"
        )
    if restriction is not None and restriction.filters is not None:
        _check_filter(filters, restriction.filters)
    return restriction


def check_scopes(scopes: Iterable[Scope], restriction: Restriction | None) -> None:
    """Raises Invalid where a key with a restriction would do more than read."""
    if restriction is not None and (more := sorted(set(scopes) - READS)):
        raise Invalid(
            f"A key with filters or namespaces only reads, so it cannot have the scope {', '.join(more)}: give it "
            "search alone.",
            param="scopes",
        )


def principal_of(
    scopes: frozenset[Scope],
    team: tuple[str, int | None],
    key_id: str | None,
    restriction: Restriction | None,
    *,
    is_derived: bool = False,
) -> Principal:
    """*team* is its name and its number."""
    if restriction is None:
        return Principal(scopes, *team, key_id, is_derived)
    return RestrictedPrincipal(scopes & READS, *team, key_id, is_derived, restriction=restriction)


def _check_filter(filters: Json | None, parsed: Filter) -> None:
    if any(each.key == PAGE for each in conditions(parsed)):
        raise Invalid(
            "page is a field of chunks, and the filters of a key say which documents it sees: use fields and metadata "
            "of documents.",
            param="filters",
        )
    size = len(json.dumps(filters, ensure_ascii=False).encode())
    if size > MAX_FILTER_BYTES:
        raise Invalid(
            f"The filter takes {size} bytes as JSON; that of a key takes at most {MAX_FILTER_BYTES}.", param="filters"
        )
