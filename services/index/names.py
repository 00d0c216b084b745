"""Validates the names of tenants, namespaces, documents and keys. Every error names the field."""

from __future__ import annotations

from errors import Invalid
from text.hashing import unfit

MAX_NAME_BYTES = 2500
"""In UTF-8: what fits into an index entry of Postgres beside the key's other columns. Applies to SQLite too, since a
database can be moved."""


def check_name(field: str, value: str, max_chars: int) -> None:
    """Checks any name, also one that is only looked up. Raises Invalid."""
    if not value.strip():
        raise Invalid(f"{field} is empty.", param=field)
    if len(value) > max_chars:
        raise Invalid(f"{field} has {len(value)} characters; at most {max_chars} are accepted.", param=field)
    if problem := unfit(value):
        raise Invalid(f"{field} {problem}: take it out.", param=field)


def check_new_name(field: str, value: str, max_chars: int) -> None:
    """Checks a name that something new is to have. Names that earlier versions allowed can still be looked up."""
    check_name(field, value, max_chars)
    check_line(field, value)
    if (size := len(value.encode())) > MAX_NAME_BYTES:
        raise Invalid(f"{field} takes {size} bytes in UTF-8; at most {MAX_NAME_BYTES} are accepted.", param=field)


def check_line(field: str, value: str) -> None:
    if problem := unfit(value, is_line=True):
        raise Invalid(f"{field} {problem}: it has to be one line of printable characters.", param=field)
