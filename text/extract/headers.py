"""Decodes the headers of mail and forms, such as names and subjects, in any encoding."""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import unquote_to_bytes

from text.extract.plain import decode, decoded

_EXTENDED = re.compile(r";\s*filename\*\s*=\s*\"?([\w.:-]*)'[\w-]*'([^;\"\s]*)", re.IGNORECASE)
_CONTINUED = re.compile(r";\s*filename\*(\d{1,2})(\*?)\s*=\s*(?:\"([^\"]*)\"|([^;\s]*))", re.IGNORECASE)


def header_text(raw: str | None) -> str:
    """Decodes a header: its encoded words (RFC 2047), and bytes that are not ASCII in a guessed encoding."""
    line = decode((raw or "").encode("utf-8", "surrogateescape"))
    if "=?" not in line:
        return line
    try:
        parts = decode_header(line)
    except (ValueError, HeaderParseError):
        return line
    return "".join(
        part if isinstance(part, str) else decoded(part, charset).text if charset else part.decode("raw_unicode_escape")
        for part, charset in parts
    )


def extended_filename(disposition: str) -> str | None:
    """Returns the name that a Content-Disposition has as ``filename*`` (RFC 5987) or in pieces (RFC 2231). It takes
    precedence over the plain ``filename``, which is a fallback.
    """
    extended = _EXTENDED.search(disposition)
    if extended is not None:
        return decoded(unquote_to_bytes(extended.group(2)), extended.group(1) or None).text
    pieces = sorted((int(number), *rest) for number, *rest in _CONTINUED.findall(disposition))
    if not pieces:
        return None
    charset, content = None, b""
    for number, is_coded, quoted, bare in pieces:
        value = quoted or bare
        if is_coded and number == 0 and value.count("'") >= 2:
            charset, _, value = value.split("'", 2)
        content += unquote_to_bytes(value) if is_coded else value.encode()
    return decoded(content, charset).text
