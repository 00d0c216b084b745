"""Mail: the main headers of a message and the text of its body. Attachments are listed in warnings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import Message
from typing import TypeAlias

from errors import Unreadable
from text.extract.base import Bounds, ExtractedText, TextBuilder, one_line
from text.extract.headers import header_text
from text.extract.kinds import EML
from text.extract.markup import write_html
from text.extract.plain import declared_in_markup, decoded

_HEADERS = ("From", "To", "Cc", "Date")
_NEXT_OF_MBOX = re.compile(rb"\r?\n\r?\n(?=From [^\n]{1,200}\d\d:\d\d[^\n]{0,40}\n)")
_ENVELOPE = re.compile(rb"\s*(?:From [^\n]*\n)?")
_QUOTED_FROM = re.compile(r"^>(>*From )", re.MULTILINE)
_MAX_DEPTH = 5
_Part: TypeAlias = "Message[str, str]"


class _RawHeaders(policy.Compat32):
    """The lenient policy, with raw headers: they are decoded in this module."""

    def header_fetch_parse(self, name: str, value: str) -> str:  # noqa: ARG002
        return value


def read_mail(content: bytes, bounds: Bounds) -> ExtractedText:
    """Reads a message, or every message of a mailbox; HTML only where there is no plain text."""
    out = TextBuilder(bounds.chars)
    is_mailbox = content.lstrip().startswith(b"From ")
    messages = _NEXT_OF_MBOX.split(content) if is_mailbox else [content]
    titles = [_write_message(_parsed(each), out, is_mailbox=is_mailbox) for each in messages]
    return out.extracted(EML.mime_type, "markdown", titles[0] if len(titles) == 1 else None)


def _parsed(content: bytes) -> _Part:
    start = _ENVELOPE.match(content.removeprefix(b"\xef\xbb\xbf"))
    assert start is not None
    return message_from_bytes(content.removeprefix(b"\xef\xbb\xbf")[start.end() :], policy=_RawHeaders())


def _write_message(message: _Part, out: TextBuilder, *, depth: int = 0, is_mailbox: bool = False) -> str:
    """Returns the subject."""
    subject = one_line(header_text(message.get("Subject")))
    out.add_heading(1 + depth, subject)
    out.add("\n".join(f"{name}: {one_line(header_text(message.get(name)))}" for name in _HEADERS if name in message))
    has_text = False
    for part in _parts(message):
        if part.get_content_type() == "message/rfc822" and depth < _MAX_DEPTH and not _is_attached(part):
            for inner in part.get_payload():
                if isinstance(inner, Message):
                    _write_message(inner, out, depth=depth + 1)
                    has_text = True
        elif _is_text(part):
            has_text = _write_text(part, out, is_mailbox=is_mailbox) or has_text
        else:
            _name_attachment(part, out)
    if not has_text:
        out.warn("body_missing", "The message has no text in its body: only its head is read.")
    return subject


def _parts(message: _Part) -> Iterator[_Part]:
    """Yields the parts of a body in order: one of several alternatives, and none of the inline pictures."""
    if not message.is_multipart() or message.get_content_type() == "message/rfc822":
        yield message
        return
    children = [each for each in message.get_payload() if isinstance(each, Message)]
    if message.get_content_type() == "multipart/alternative":
        chosen = _preferred(children)
        yield from _parts(chosen) if chosen is not None else ()
        yield from (each for each in children if each is not chosen and _is_attached(each))
        return
    is_laid_out = message.get_content_type() == "multipart/related"
    for child in children:
        if not is_laid_out or child.get_content_maintype() in ("text", "multipart") or "Content-ID" not in child:
            yield from _parts(child)


def _preferred(alternatives: list[_Part]) -> _Part | None:
    """Returns the plain text unless it is blank, else the last alternative with text."""
    with_text = [each for each in alternatives if any(_is_text(part) and not _is_blank(part) for part in _parts(each))]
    plain = [each for each in with_text if each.get_content_type() == "text/plain"]
    chosen = plain or with_text[-1:] or alternatives[-1:]
    return chosen[0] if chosen else None


def _is_text(part: _Part) -> bool:
    is_readable = part.get_content_maintype() == "text" and part.get_content_subtype() not in ("calendar", "rtf", "css")
    return (is_readable or part.get_content_maintype() == "multipart") and not _is_attached(part)


def _is_attached(part: _Part) -> bool:
    return part.get_content_disposition() == "attachment"


def _is_blank(part: _Part) -> bool:
    return not _text(part, None).strip()


def _write_text(part: _Part, out: TextBuilder, *, is_mailbox: bool) -> bool:
    """Writes the text of a part; returns whether there was any."""
    text, before = _text(part, out), out.chars
    if part.get_content_subtype() == "html":
        write_html(text, out)
    else:
        out.add(_QUOTED_FROM.sub(r"\1", text) if is_mailbox else text)
    return out.chars > before


def _text(part: _Part, out: TextBuilder | None) -> str:
    """Returns the text of a part; a multipart whose boundary does not occur is read as it is."""
    payload = part.get_payload(decode=True) if not part.is_multipart() else b""
    content = payload if isinstance(payload, bytes) else b""
    if part.get_content_maintype() == "multipart" and not content:
        content = str(part.get_payload()).encode("utf-8", "surrogateescape")
    charset = part.get_content_charset()
    label = declared_in_markup(content) if part.get_content_subtype() == "html" else None
    try:
        decoded_text = decoded(content, charset, label)
    except Unreadable:
        if out is not None:
            _name_attachment(part, out)
        return ""
    if out is not None:
        out.add_caveats(decoded_text.caveats)
    return decoded_text.text


def _name_attachment(part: _Part, out: TextBuilder) -> None:
    name = one_line(_filename(part)) or part.get_content_type()
    out.warn("attachment_not_read", f"The attachment {name!r} is not read: send it by itself.", part=name)


def _filename(part: _Part) -> str:
    for header, parameter in (("content-disposition", "filename"), ("content-type", "name")):
        value = part.get_param(parameter, header=header)
        if isinstance(value, tuple):
            return decoded(value[2].encode("latin-1", "replace"), value[0] or None).text
        if value:
            return header_text(value)
    return ""
