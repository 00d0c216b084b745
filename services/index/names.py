"""What a tenant, a namespace, a document or a key may be called. Every refusal names the field."""

from __future__ import annotations

from errors import Invalid
from text.hashing import unfit

MOST_NAME_BYTES = 2500
"""In UTF-8: what Postgres takes into an index beside the other columns of a key. On SQLite too: it can be moved."""


def check_name(field: str, value: str, longest: int) -> None:
    """What any name has to be, also one that is only looked up. Raises Invalid."""
    if not value.strip():
        raise Invalid(f"{field} is empty.", param=field)
    if len(value) > longest:
        raise Invalid(f"{field} has {len(value)} characters; at most {longest} are accepted.", param=field)
    if reason := unfit(value):
        raise Invalid(f"{field} {reason}: take it out.", param=field)


def check_new_name(field: str, value: str, longest: int) -> None:
    """What a new name has to be. Earlier versions accepted others, and those can still be looked up."""
    check_name(field, value, longest)
    check_line(field, value)
    if (size := len(value.encode())) > MOST_NAME_BYTES:
        raise Invalid(f"{field} takes {size} bytes in UTF-8; at most {MOST_NAME_BYTES} are accepted.", param=field)


def check_line(field: str, value: str) -> None:
    if reason := unfit(value, is_line=True):
        raise Invalid(f"{field} {reason}: it has to be one line of printable characters.", param=field)
