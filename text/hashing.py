"""Decides when two texts are equal, and which characters a text may have. Pure: no IO, no clock."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from errors import Invalid

_NEWLINES = re.compile(r"\r\n?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = "\x00-\x1f\x7f-\x9f\u2028\u2029"
REPLACEMENT = "\ufffd"
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
UNFIT_FOR_A_LINE = re.compile(f"[{_CONTROL}\ud800-\udfff]")


def normalize(text: str) -> str:
    """Normalises how *text* was typed: NFC, one kind of newline, no trailing space on any line."""
    lines = _NEWLINES.sub("\n", unicodedata.normalize("NFC", text)).split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def doc_hash(text: str) -> str:
    """The content hash of a document: SHA-256 of the normalised text, in hex."""
    return hashlib.sha256(normalize(text).encode()).hexdigest()


def utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def embed_hash(text: str) -> bytes:
    """The key of a vector: SHA-256 (32 bytes) of exactly the text that is embedded."""
    return hashlib.sha256(text.encode()).digest()


def unfit(value: str, *, is_line: bool = False) -> str | None:
    """Returns why *value* cannot be stored unchanged, worded to follow its name; None if it can.

    A line is shown in lists, headers and logs: it may have no control character and no line separator.
    """
    match = (UNFIT_FOR_A_LINE if is_line else UNSTORABLE).search(value)
    if match is None:
        return None
    code = ord(match.group())
    kind = (
        "a lone surrogate" if _SURROGATE.match(match.group()) else "a control character" if code else "a NUL character"
    )
    return f"has {kind} (U+{code:04X}) at character {match.start()}"


def clean(text: str) -> str:
    """Replaces each NUL character, which Postgres cannot store, by U+FFFD, so that all offsets stay valid.

    Raises Invalid for a lone surrogate: it is not a character, and any replacement would change the text.
    """
    surrogate = _SURROGATE.search(text)
    if surrogate:
        code = f"U+{ord(surrogate.group()):04X}"
        message = f"the text has a lone surrogate ({code}) at character {surrogate.start()}, which is not Unicode text"
        raise Invalid(message, param="text")
    return text.replace("\x00", REPLACEMENT)


def is_blank(text: str) -> bool:
    """Has *text* nothing but white space and replaced NUL characters?"""
    return not text.replace(REPLACEMENT, "").strip()


def storable(text: str) -> str:
    """Returns *text* of a file without NUL characters, and with U+FFFD for each lone surrogate."""
    return _SURROGATE.sub(REPLACEMENT, text.replace("\x00", ""))
