"""Files that are text already: which characters their bytes are."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from errors import Unreadable

_CONTROLS = re.compile("[\x00-\x07\x0e-\x1a\x1c-\x1f]")
_LOOKED_AT = 4096


def decode(content: bytes, *, charset: str | None = None, is_cut: bool = False) -> str:
    """The text of *content*: in the encoding of its byte order mark, else in UTF-8, else in the declared *charset*,
    else in Windows-1252, which is Latin-1 with quotation marks. *is_cut*: the end may be amid a character.

    Guessing among all the old encodings was measured to spoil more texts of Western Europe than it reads others.
    Raises Unreadable for what is no text: a NUL in it or, as every byte is a letter there, another control character.
    """
    for name in _candidates(content, charset):
        try:
            text = _decoded(content, name, is_cut=is_cut)
        except (UnicodeDecodeError, LookupError):
            continue
        is_binary = "\x00" in text if name in ("utf-16", "utf-8-sig") else _CONTROLS.search(text) is not None
        if not is_binary:
            return text
    raise Unreadable("It is a binary file, or damaged: it has bytes that no text has.")


def _candidates(content: bytes, charset: str | None) -> Iterator[str]:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield "utf-16"
        return
    if b"\x00" in content[:_LOOKED_AT]:
        yield from _utf16_without_mark(content[:_LOOKED_AT])
        return
    yield "utf-8-sig"
    if charset is not None:
        yield charset
    yield from ("cp1252", "latin-1")


def _utf16_without_mark(start: bytes) -> Iterator[str]:
    """Where every other byte is zero, and of the rest none, it is ASCII letters in UTF-16."""
    even, odd, half = start[0::2].count(0), start[1::2].count(0), len(start) // 2
    if 2 * odd > half and even == 0:
        yield "utf-16-le"
    if 2 * even > half and odd == 0:
        yield "utf-16-be"


def _decoded(content: bytes, name: str, *, is_cut: bool) -> str:
    try:
        return content.decode(name)
    except UnicodeDecodeError as error:
        if is_cut and error.start > len(content) - 4:
            return content[: error.start].decode(name)
        raise
