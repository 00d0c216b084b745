"""Checks ZIP archives, which several kinds of files are, before a parser unpacks them."""

from __future__ import annotations

import io
import zipfile

from errors import Unreadable
from text.extract.base import Bounds

_DECLARATION = b"<!ENTITY"
_PROLOGUE_BYTES = 65_536
_MAX_PARTS = 20_000


def check_archive(content: bytes, bounds: Bounds, *, may_have_doctype: bool) -> None:
    """Raises Unreadable for a bomb (too many or too large parts, XML that defines entities) and for encrypted parts.

    zipfile cuts a part that is longer than the directory says; its checksum then fails.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = archive.infolist()
        unpacked = sum(part.file_size for part in parts)
        if unpacked > bounds.unpacked_bytes or len(parts) > _MAX_PARTS:
            raise Unreadable(
                f"It is a ZIP archive of {len(parts)} parts that would unpack to {unpacked >> 20} MB; at most "
                f"{bounds.unpacked_bytes >> 20} MB are unpacked (EXTRACT_MEMORY_MB)."
            )
        if any(part.flag_bits & 1 for part in parts):
            raise Unreadable("It is protected by a password: send it without one.")
        for part in parts:
            if part.filename.lower().endswith((".xml", ".rels", ".opf", ".ncx", ".xhtml")):
                with archive.open(part) as file:
                    _check_prologue(file.read(_PROLOGUE_BYTES), may_have_doctype=may_have_doctype)


def _check_prologue(start: bytes, *, may_have_doctype: bool) -> None:
    """No office program writes a DTD; defined entities are attempts to fill the memory or to read other files."""
    plain = start.replace(b"\x00", b"")  # UTF-16 too
    if _DECLARATION in plain or (not may_have_doctype and b"<!DOCTYPE" in plain):
        raise Unreadable("Its XML defines entities, which no honest file of this kind does.")
