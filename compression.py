"""What is stored compressed, and how a stored form is told from a plain one.

A compressed form is a zstd frame. No UTF-8 text begins like one, and bytes that do are always compressed, so both
forms can be read wherever either may stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import local

import zstandard

MAGIC = b"\x28\xb5\x2f\xfd"
LEVEL = 3
MIN_BYTES = 256
"""What is shorter is hardly worth reading twice."""
MOST_OF_IT = 0.9
"""A compressed form that is not smaller than this share is not kept."""


class DamagedText(Exception):
    """A compressed form that does not unpack to what was compressed."""


class CompressedText(str):
    """A text that has its compressed form with it, which is what a database then stores."""

    frame: bytes

    @classmethod
    def of(cls, text: str, frame: bytes) -> CompressedText:
        compressed = cls(text)
        compressed.frame = frame
        return compressed


@dataclass(frozen=True, slots=True)
class Compression:
    """How a process writes; it reads both forms, whatever it writes."""

    is_on: bool

    def text(self, text: str) -> str:
        """The same text, with its compressed form if that saves space."""
        if isinstance(text, CompressedText) or not self.is_on:
            return text
        encoded = text.encode()
        frame = _worth_it(encoded)
        return text if frame is None else CompressedText.of(text, frame)

    def data(self, data: bytes) -> bytes:
        """The form in which to store the bytes."""
        if data.startswith(MAGIC):
            return _TOOLS.compressor.compress(data)
        return (_worth_it(data) if self.is_on else None) or data


def plain(stored: bytes) -> bytes:
    """The bytes of which this is a stored form. Raises DamagedText."""
    if not stored.startswith(MAGIC):
        return stored
    try:
        return _TOOLS.decompressor.decompress(stored)
    except zstandard.ZstdError as error:
        raise DamagedText(str(error)) from error


def plain_text(stored: bytes) -> str:
    """Raises DamagedText."""
    text = plain(stored).decode()
    return CompressedText.of(text, stored) if stored.startswith(MAGIC) else text


def _worth_it(data: bytes) -> bytes | None:
    if len(data) < MIN_BYTES:
        return None
    frame = _TOOLS.compressor.compress(data)
    return frame if len(frame) < MOST_OF_IT * len(data) else None


class _Tools(local):
    """Of each thread its own: they must not be shared, and making one takes longer than compressing a page."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self.decompressor = zstandard.ZstdDecompressor()


_TOOLS = _Tools()
