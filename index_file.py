"""The format of an index file: a header, the rows' chunk ids, which rows are dead, FAISS's index, the lower halves.

All behind the header, and then the header's numbers, are under one SHA-256. The lower halves of a large index stay in
the file: a search reads the few that it needs.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from durable import sync_folder
from errors import DamagedIndex, MissingIndex
from half_precision import LowerHalves
from loaded_index import LoadedIndex, Positions, Precision, read_index, write_index

MAGIC, OLD_MAGIC = b"AI3DFIX\x02", b"AI3DFIX\x01"
PIECE = 1 << 20
KEPT_LOWER_BYTES = 16 << 20
"""Lower halves up to this size are kept in memory, 20,000 rows of 384 numbers: a read costs 0.7 µs, and a hybrid search
reads some hundred."""


class Header(NamedTuple):
    """*dead* rows are in no result; *depth* and *error* are those of Precision."""

    magic: bytes
    partition: bytes
    checksum: bytes
    dimension: int
    depth: int
    rows: int
    dead: int
    index_bytes: int
    lower_rows: int
    error: float

    @property
    def numbers(self) -> bytes:
        return NUMBERS.pack(*self[3:])

    @property
    def lower_start(self) -> int:
        return LAYOUT.size + 8 * self.rows + self.bitmap_bytes + self.index_bytes

    @property
    def bitmap_bytes(self) -> int:
        return -(-self.rows // 8) if self.dead else 0

    @property
    def lower_bytes(self) -> int:
        return 2 * self.dimension * self.lower_rows

    @property
    def file_bytes(self) -> int:
        return self.lower_start + self.lower_bytes


NUMBERS = struct.Struct("<IIQQQQf")
LAYOUT = struct.Struct(f"<8s32s32s{NUMBERS.size}s")


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What a file's row says of it."""

    partition: bytes
    checksum: bytes
    dimension: int
    live_count: int


class LowerReader:
    """Reads lower halves from a file that it keeps open, so that it may be unlinked meanwhile."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self.start, self.row_bytes = header.lower_start, 2 * header.dimension
        self.descriptor = os.dup(file.fileno())

    def __call__(self, positions: Positions) -> LowerHalves:
        """The lower halves of the rows at these positions. Raises OSError."""
        is_first = np.diff(positions, prepend=-2) != 1  # neighbours are read together
        counts = np.diff(np.flatnonzero(is_first), append=len(positions))
        starts = self.start + self.row_bytes * positions[is_first]
        read, descriptor = os.pread, self.descriptor  # some hundred calls: what is around them counts
        sizes = (self.row_bytes * counts).tolist()
        content = b"".join([read(descriptor, size, start) for size, start in zip(sizes, starts.tolist(), strict=True)])
        if len(content) != len(positions) * self.row_bytes:
            raise OSError("The index file has been cut short.")
        return np.frombuffer(content, "<i2").reshape(-1, self.row_bytes // 2)

    def __del__(self) -> None:
        os.close(self.descriptor)


def write(path: Path, partition: bytes, loaded: LoadedIndex, lower: LowerHalves | None) -> str:
    """Write the file atomically and durably: the file, then its name, then its folder are synced.

    *lower* is None for an index of full vectors. Returns the SHA-256 in hex. Raises OSError.
    """
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(path.parent.parent)
    temporary = path.with_suffix(".tmp")
    try:
        with open(temporary, "xb") as file:
            checksum = _write(file, partition, loaded, lower)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return checksum


def _write(file: BinaryIO, partition: bytes, loaded: LoadedIndex, lower: LowerHalves | None) -> str:
    digest = hashlib.sha256()

    def add(part: bytes | memoryview) -> None:
        digest.update(part)
        file.write(part)

    dead = len(loaded.ids) - loaded.live_count
    file.write(bytes(LAYOUT.size))
    add(loaded.ids.astype("<i8").data.cast("B"))
    if dead:
        add(np.packbits(loaded.is_alive(), bitorder="little").data)
    start = file.tell()
    write_index(loaded.index, add)
    index_bytes = file.tell() - start
    if lower is not None:
        add(lower.astype("<i2", copy=False).data.cast("B"))
    header = Header(
        magic=MAGIC,
        partition=partition,
        checksum=b"",
        dimension=loaded.index.d,
        depth=loaded.depth,
        rows=len(loaded.ids),
        dead=dead,
        index_bytes=index_bytes,
        lower_rows=0 if lower is None else len(lower),
        error=loaded.error,
    )
    digest.update(header.numbers)
    file.seek(0)
    file.write(LAYOUT.pack(MAGIC, partition, digest.digest(), header.numbers))
    return digest.hexdigest()


def read(path: Path, expected: Expected, *, can_grow: bool = False) -> LoadedIndex:
    """The index in the file. FAISS uses its bytes in place, unless it is to grow.

    Raises DamagedIndex before FAISS sees a wrong byte.
    """
    try:
        with open(path, "rb") as file:
            return _read(file, _header(file, expected), can_grow=can_grow)
    except OSError as error:
        error_type = MissingIndex if isinstance(error, FileNotFoundError) else DamagedIndex
        raise error_type(f"The file cannot be read: {error.strerror}.") from error
    except RuntimeError as error:
        raise DamagedIndex("FAISS does not read the file: was it written by a newer version?") from error


def _header(file: BinaryIO, expected: Expected) -> Header:
    *names, numbers = LAYOUT.unpack(file.read(LAYOUT.size).ljust(LAYOUT.size, b"\0"))
    header = Header(*names, *NUMBERS.unpack(numbers))
    if header.magic == OLD_MAGIC:
        raise DamagedIndex("The file was written by an earlier release.")
    stated = (header.partition, header.checksum, header.dimension, header.rows - header.dead)
    if header.magic != MAGIC or stated != astuple(expected) or os.fstat(file.fileno()).st_size != header.file_bytes:
        raise DamagedIndex("The file is truncated, or its header does not match its row.")
    return header


def _read(file: BinaryIO, header: Header, *, can_grow: bool) -> LoadedIndex:
    digest = hashlib.sha256()

    def take(size: int) -> NDArray[np.uint8]:
        content = np.empty(size, np.uint8)
        if file.readinto(content.data) != size:  # type: ignore[attr-defined]
            raise DamagedIndex("The file has become shorter while it was read.")
        digest.update(content.data)
        return content

    ids = take(8 * header.rows).view("<i8").astype(np.int64, copy=False)
    bitmap, content = take(header.bitmap_bytes), take(header.index_bytes)
    lower = take(header.lower_bytes) if header.lower_bytes <= KEPT_LOWER_BYTES else None
    while piece := file.read(PIECE):
        digest.update(piece)
    digest.update(header.numbers)
    if digest.digest() != header.checksum:
        raise DamagedIndex("The file's checksum does not match its row.")
    is_alive = np.unpackbits(bitmap, count=header.rows, bitorder="little").astype(np.bool_) if header.dead else None
    precision = _precision(file, header, lower) if header.lower_rows else None
    index = read_index(content, can_grow=can_grow)
    return LoadedIndex(index, ids, precision=precision, is_alive=is_alive)


def _precision(file: BinaryIO, header: Header, lower: NDArray[np.uint8] | None) -> Precision:
    """*lower* None: the lower halves are read from the file."""
    if lower is None:
        return Precision(read_lower=LowerReader(file, header), error=header.error, depth=header.depth)
    rows = lower.view("<i2").reshape(-1, header.dimension)
    return Precision(read_lower=rows.__getitem__, error=header.error, depth=header.depth, lower_bytes=rows.nbytes)
