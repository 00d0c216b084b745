"""JSON as lines that say where each value stands, and mail as its head and its text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from text.extract.base import Bounds, ExtractedText, Pieces, one_line
from text.extract.kinds import EML, JSON, TEXT
from text.extract.markup import write_html
from text.extract.plain import decode

_SHOWN_HEADERS = ("From", "To", "Cc", "Date", "Subject")


def read_json(content: bytes, bounds: Bounds, charset: str | None) -> ExtractedText:
    """Each value with its path; a list of flat objects as a table; what is no JSON after all as it stands."""
    text = decode(content, charset=charset)
    try:
        value = _parsed(text)
        out = Pieces(bounds.chars)
        rows = _as_rows(value)
        if rows:
            out.add_table(rows)
        else:
            out.add("\n".join(_lines(value, "")))
    except (ValueError, RecursionError):
        return ExtractedText(text, TEXT.mime_type, "default")
    return ExtractedText(out.text(), JSON.mime_type, out.strategy("default"))


def read_mail(content: bytes, bounds: Bounds) -> ExtractedText:
    """The text of a message; its HTML where it has no other. What is attached is named, not read."""
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    out = Pieces(bounds.chars)
    subject = one_line(str(message.get("Subject", "")))
    out.add_heading(1, subject)
    told = [f"{name}: {one_line(str(message[name]))}" for name in _SHOWN_HEADERS[:-1] if name in message]
    out.add("\n".join(told))
    body = message.get_body(preferencelist=("plain", "html"))
    if body is not None:
        payload = body.get_payload(decode=True)
        assert isinstance(payload, bytes)
        text = decode(payload, charset=body.get_content_charset())
        if body.get_content_subtype() == "html":
            write_html(text, out)
        else:
            out.add(text)
    names = [part.get_filename() or part.get_content_type() for part in message.iter_attachments()]
    attached = tuple(f"The attachment {one_line(name)!r} is not read: send it by itself." for name in names)
    return ExtractedText(out.text(), EML.mime_type, out.strategy("markdown"), subject or None, attached)


def _parsed(text: str) -> Any:
    """One value, or one in each line."""
    try:
        return json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def _as_rows(value: Any) -> list[list[str]] | None:
    """A list of objects without objects in them, under the names that any of them has."""
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
        return None
    if any(isinstance(cell, dict | list) for each in value for cell in each.values()):
        return None
    names = list(dict.fromkeys(name for each in value for name in each))
    return [names, *([_scalar(each.get(name)) for name in names] for each in value)] if len(names) > 1 else None


def _lines(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _lines(each, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        for number, each in enumerate(value):
            yield from _lines(each, f"{path}[{number}]")
    else:
        told = ", ".join(map(_scalar, value)) if isinstance(value, list) else _scalar(value)
        yield f"{path}: {told}" if path else told


def _scalar(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
