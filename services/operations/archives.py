"""The file of an export: a tar in one zstd frame, written and read as a stream.

    export.json                        first: what this is, and the version of its format
    0001/namespace.json                a namespace: its seq, its embedding version, how many documents follow
    0001/documents-000001.jsonl        documents with their chunks, one a line
    0001/files/000001                  the raw files of those documents
    manifest.json                      last: size and SHA-256 of every part; without it a file is not complete

Nothing is ever unpacked by its name. docs/operating.md describes the members of the JSON documents.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from errors import DamagedExport, Invalid

FORMAT, FORMAT_VERSION = "ai3-datafactory-export", 1
HEAD_PART, MANIFEST_PART = "export.json", "manifest.json"
LEVEL = 3
PIECE_BYTES = 1 << 20
LONGEST_LINE = 1 << 30
"""Far more than the settings allow a document to have."""

_BLOCK = tarfile.BLOCKSIZE
_WINDOW = 1 << 27
_PART = re.compile(
    r"export\.json|manifest\.json|\d{4,9}/namespace\.json|\d{4,9}/documents-\d{6,9}\.jsonl|\d{4,9}/files/\d{6,9}"
)


@dataclass(frozen=True, slots=True)
class ArchivePart:
    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """A part while it is read. What of *pieces* is not read is skipped."""

    name: str
    size: int
    pieces: Iterator[bytes]

    def lines(self) -> Iterator[bytes]:
        rest = b""
        for piece in self.pieces:
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
            if len(rest) > LONGEST_LINE:
                raise DamagedExport(f"A line of the part {self.name} is larger than any that an export has.")
        if rest:
            yield rest


@dataclass(frozen=True, slots=True)
class VerifiedArchive:
    """*contents* are those of all JSON parts, by name."""

    head: Any
    contents: Mapping[str, Any]


class ArchiveWriter:
    """Each method yields the bytes of the file that follow."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        self.parts: list[ArchivePart] = []

    def add(self, name: str, size: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Raises DamagedExport if the pieces are not of that size together."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o644
        yield self._zstd.compress(info.tobuf(tarfile.USTAR_FORMAT))
        digest, written = hashlib.sha256(), 0
        for piece in pieces:
            digest.update(piece)
            written += len(piece)
            yield self._zstd.compress(piece)
        if written != size:
            raise DamagedExport(f"The part {name} has {written} bytes instead of {size}: the export was stopped.")
        yield self._zstd.compress(bytes(-size % _BLOCK))
        self.parts.append(ArchivePart(name, size, digest.hexdigest()))

    def add_json(self, name: str, content: Mapping[str, Any]) -> Iterator[bytes]:
        encoded = json.dumps(content, indent=1, ensure_ascii=False).encode()
        yield from self.add(name, len(encoded), [encoded])

    def close(self) -> Iterator[bytes]:
        yield from self.add_json(MANIFEST_PART, {"parts": [asdict(part) for part in self.parts]})
        yield self._zstd.compress(bytes(2 * _BLOCK))
        yield self._zstd.flush()


def read_archive(path: Path) -> Iterator[ArchiveEntry]:
    """The parts in their order. Raises DamagedExport, and Invalid for what no export contains."""
    with _damage_explained(path), open(path, "rb") as file:
        stream = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(file, read_size=PIECE_BYTES)
        while (info := _next_info(stream)) is not None:
            pieces = _pieces(stream, info.size)
            yield ArchiveEntry(info.name, info.size, pieces)
            for _ in pieces:
                pass
            _exactly(stream, -info.size % _BLOCK)
        while stream.read(PIECE_BYTES):  # up to the checksum at the end of the frame
            pass


def verified(path: Path) -> VerifiedArchive:
    """Reads the whole file. Raises DamagedExport, and Invalid for a file of another kind or of a newer format."""
    present: dict[str, ArchivePart] = {}
    contents: dict[str, Any] = {}
    for entry in read_archive(path):
        if MANIFEST_PART in present or entry.name in present:
            raise DamagedExport(f"The export has a part too many, {entry.name}: it is damaged.")
        digest, kept = hashlib.sha256(), bytearray()
        for piece in entry.pieces:
            digest.update(piece)
            if entry.name.endswith(".json"):
                kept += piece
        if kept:
            contents[entry.name] = _parsed(entry.name, kept)
        if not present:
            _require_format(entry.name, contents)
        present[entry.name] = ArchivePart(entry.name, entry.size, digest.hexdigest())
    _compare(present, contents.get(MANIFEST_PART))
    return VerifiedArchive(contents[HEAD_PART], contents)


def _parsed(name: str, content: bytearray) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise DamagedExport(f"The part {name} of the export is not JSON: {error}.") from error


def _require_format(first: str, contents: Mapping[str, Any]) -> None:
    head = contents.get(HEAD_PART)
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise Invalid(f"This is not the file of an export: it begins with {first!r}, not with {HEAD_PART}.")
    number = head.get("version")
    if not isinstance(number, int) or number < 1:
        raise DamagedExport(f"The export says that its format is {number!r}: it is damaged.")
    if number > FORMAT_VERSION:
        raise Invalid(
            f"The export has format {number}, and this version reads up to {FORMAT_VERSION}: import it with the "
            "version that wrote it, or a newer one."
        )


def _compare(present: Mapping[str, ArchivePart], manifest: Any) -> None:
    try:
        named = {part["name"]: ArchivePart(**part) for part in manifest["parts"]}
    except (TypeError, KeyError) as error:
        raise DamagedExport("The export has no manifest at its end: it is not complete. Export again.") from error
    names = (named.keys() | present.keys()) - {MANIFEST_PART}
    differing = sorted(name for name in names if named.get(name) != present.get(name))
    if differing:
        raise DamagedExport(f"The part {differing[0]} of the export differs from its manifest: it is damaged.")


def _next_info(stream: IO[bytes]) -> tarfile.TarInfo | None:
    block = _exactly(stream, _BLOCK)
    if not any(block):
        return None
    info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if not info.isreg() or not _PART.fullmatch(info.name):
        raise Invalid(f"The file has a part {info.name!r}, which no export has: nothing of it is imported.")
    return info


def _pieces(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        piece = _exactly(stream, min(size, PIECE_BYTES))
        size -= len(piece)
        yield piece


def _exactly(stream: IO[bytes], size: int) -> bytes:
    read = b""
    while len(read) < size:
        piece = stream.read(size - len(read))
        if not piece:
            raise DamagedExport("The export is cut short: it ends before its manifest. Export again, or copy it again.")
        read += piece
    return read


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.") from error
    except (zstandard.ZstdError, tarfile.HeaderError) as error:
        raise DamagedExport(
            f"{path} is damaged, or not the file of an export: {error}. Nothing of it is imported."
        ) from error
