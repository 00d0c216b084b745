"""Decodes bytes to characters, for text, pages, mail and books.

Labels have the meaning of the web's Encoding Standard: iso-8859-1 is Windows-1252, gb2312 is GB18030.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

import webencodings

from errors import Unreadable
from text.extract.base import Caveat

_CONTROLS = re.compile("[\x00-\x07\x0e-\x1a\x1c-\x1f]")
_WINDOW_BYTES = 4096
_DECLARATION = re.compile(rb"<\?xml[^>]{1,200}?encoding\s*=\s*[\"']([\w.:-]{1,40})", re.IGNORECASE)
_META = re.compile(rb"<meta[^>]{1,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_SEVEN_BITS = {
    "iso-2022-jp": "iso2022_jp_2",
    "csiso2022jp": "iso2022_jp_2",
    "iso-2022-jp-1": "iso2022_jp_2",
    "iso-2022-jp-2": "iso2022_jp_2",
    "iso-2022-jp-3": "iso2022_jp_2004",
    "iso-2022-jp-2004": "iso2022_jp_2004",
    "cp50220": "iso2022_jp_2",
    "iso-2022-kr": "iso2022_kr",
    "csiso2022kr": "iso2022_kr",
    "hz-gb-2312": "hz",
    "hz": "hz",
    "utf-7": "utf-7",
    "unicode-1-1-utf-7": "utf-7",
}
"""All their bytes are ASCII and thus valid UTF-8, so a declaration has to be tried first."""
_SHIFTS = re.compile(rb"(\x1b(?:\$[@B]|\([BJI]|\$\(D))")
_WIDER = {"gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "big5hkscs", "euc_jp": "euc_jis_2004"}
"""The supersets that writers actually used, where Python's codec covers only the standard."""
_NO_CHARSETS = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}
_WINDOWS_1252 = {n: bytes([n]).decode("cp1252", "ignore") or chr(n) for n in range(0x80, 0xA0)}
_NOT_UTF8 = "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"


@dataclass(frozen=True, slots=True)
class Decoded:
    """*caveats* report a guessed encoding, or bytes that are invalid in it."""

    text: str
    caveats: tuple[Caveat, ...] = ()


def decode(content: bytes, *, charset: str | None = None, is_cut: bool = False) -> str:
    """Returns the text of decoded() without caveats. *is_cut*: the content may end within a character."""
    return decoded(content, charset, is_cut=is_cut).text


def decoded(content: bytes, *labels: str | None, is_cut: bool = False) -> Decoded:
    """Decodes *content* by its byte order mark, as a declared seven-bit encoding, as UTF-8, by the first known label of
    those declared, else as Windows-1252.

    Guessing among all legacy encodings was measured to break more Western European texts than it recovers of others.
    Raises Unreadable for binary content: it has a NUL or, in single-byte encodings, another control character.
    """
    declared = [label.strip().lower() for label in labels if label and label.strip()]
    for name in _candidate_codecs(content, declared):
        text = _strictly(content, name, is_cut=is_cut)
        if text is not None and not _is_binary(text, name):
            return Decoded(text)
    if b"\x00" not in content[:_WINDOW_BYTES]:
        lossy = _lossy(content, declared)
        if not _CONTROLS.search(lossy.text):
            return lossy
    raise Unreadable("It is a binary file, or damaged: it has bytes that no text has.")


def declared_in_markup(content: bytes) -> str | None:
    """Returns the encoding that an XML declaration or a page's meta element declares."""
    match = _DECLARATION.match(content[:_WINDOW_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")) or _META.search(
        content[:_WINDOW_BYTES]
    )
    label = match.group(1).decode("ascii", "replace").lower() if match else None
    return (
        "utf-8" if label and codec_of(label) in _NOT_UTF8 else label
    )  # the declaration was read as ASCII, so it is not UTF-16


def codec_of(label: str) -> str | None:
    """Returns Python's codec for a label of the Encoding Standard, or else of Python."""
    label = label.strip().lower()
    if label in _SEVEN_BITS:
        return _SEVEN_BITS[label]
    encoding = webencodings.lookup(label)
    try:
        codec = encoding.codec_info if encoding else codecs.lookup(label)
    except (LookupError, ValueError):
        return None
    name = codec.name.replace("-", "_")
    is_charset = name not in _NO_CHARSETS and getattr(codec, "_is_text_encoding", True)
    return _WIDER.get(name, codec.name) if is_charset else None


def _candidate_codecs(content: bytes, labels: list[str]) -> Iterator[str]:
    """Yields the encodings that are right if the content is valid in them."""
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        yield "utf-32"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield "utf-16"
        return
    names = [codec_of(label) for label in labels]
    if b"\x00" in content[:_WINDOW_BYTES]:
        yield from (name for name in names if name and name in _NOT_UTF8)
        yield from _utf16_without_mark(content[:_WINDOW_BYTES])
        return
    yield from (name for name in names if name and name in _SEVEN_BITS.values())
    if content.isascii() and _SHIFTS.search(content):
        yield "iso2022_jp_2"
    yield "utf-8-sig"
    yield from (name for name in names if name)


def _is_binary(text: str, name: str) -> bool:
    """Has it control characters? In Unicode only NUL counts; in single-byte encodings every byte is some character."""
    return "\x00" in text if name in ("utf-16", "utf-32", "utf-8-sig") else _CONTROLS.search(text) is not None


def _utf16_without_mark(start: bytes) -> Iterator[str]:
    """Yields UTF-16 without a mark: mostly ASCII characters, so every other byte is zero and none of the others."""
    even, odd, half = start[0::2].count(0), start[1::2].count(0), len(start) // 2
    if 2 * odd > half and even == 0:
        yield "utf-16-le"
    if 2 * even > half and odd == 0:
        yield "utf-16-be"


def _strictly(content: bytes, name: str, *, is_cut: bool) -> str | None:
    try:
        return content.decode(name)
    except (UnicodeDecodeError, LookupError) as error:
        if name.startswith("iso2022_jp"):
            return _iso_2022_jp_of_windows(content)
        if is_cut and isinstance(error, UnicodeDecodeError) and error.start > len(content) - 4:
            return content[: error.start].decode(name)
    return None


def _iso_2022_jp_of_windows(content: bytes) -> str | None:
    """Decodes ISO-2022-JP with the characters that Windows adds to the standard (\u2460, \u337b)."""
    text, shift = "", b"\x1b(B"
    try:
        for part in _SHIFTS.split(content):
            if part.startswith(b"\x1b"):
                shift = part
            elif shift in (b"\x1b$@", b"\x1b$B"):
                text += _shift_jis(part).decode("cp932")
            else:
                text += (shift + part).decode("iso2022_jp_2")
    except UnicodeDecodeError:
        return None
    return text


def _shift_jis(pairs: bytes) -> bytes:
    """Converts pairs of JIS X 0208 to Shift JIS."""
    out = bytearray()
    for row, cell in zip(pairs[0::2], pairs[1::2], strict=False):
        lead = (row - 0x21) // 2 + 0x81
        trail = cell + 0x7E if row % 2 == 0 else cell + 0x1F + (cell >= 0x60)
        out += bytes((min(lead + (0x40 if lead > 0x9F else 0), 0xFF), trail & 0xFF))
    return bytes(out)


def _lossy(content: bytes, labels: list[str]) -> Decoded:
    """Decodes content that is valid in no encoding: in the first in which most of it is valid, else as Windows-1252."""
    names = ["utf-8", *(name for name in map(codec_of, labels) if name and name not in _NOT_UTF8)]
    for name in names:
        text = content.decode(name, "replace")
        spoilt = text.count("\ufffd")
        if 2 * spoilt < len(text) - len(text.encode("ascii", "ignore")) - spoilt:
            message = f"{spoilt} characters are none of its encoding ({name}): they are lost."
            return Decoded(text, (Caveat("characters_lost", message),))
    text = _strictly(content, "cp1252", is_cut=False) or content.decode("latin-1").translate(_WINDOWS_1252)
    if "cp1252" in names:
        return Decoded(text)
    if labels:
        why = "which is unknown" if not any(map(codec_of, labels)) else "which it is not in"
        return Decoded(text, (_guessed(f"It declares the encoding {labels[0]!r}, {why}"),))
    return Decoded(text, (_guessed("It does not say in which encoding it is"),))


def _guessed(why: str) -> Caveat:
    return Caveat("encoding_guessed", f"{why}: it was read as Windows-1252. Send it in UTF-8.")
