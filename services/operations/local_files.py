"""Opens the files that an operator ingests: never through a link that was not asked for, and what is in a .gz as it is.

The doc_id of a file is chosen in walking.py.
"""

from __future__ import annotations

import gzip
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from errors import Invalid, Unreadable
from text.extract.kinds import HEAD_BYTES

GZIP = ".gz"
PIECE_BYTES = 1 << 20
_DAMAGED = "It is damaged, or not really a gzip file."


@dataclass(frozen=True, slots=True)
class LocalFile:
    """*may_be_link*: the file was named explicitly, or links are to be followed."""

    path: Path
    doc_id: str
    may_be_link: bool

    @property
    def is_packed(self) -> bool:
        return self.path.name.lower().endswith(GZIP)

    @property
    def inner_name(self) -> str:
        """The name that says what the content is: of a.md.gz, a.md."""
        return self.path.name[: -len(GZIP)] if self.is_packed else self.path.name

    def head(self) -> bytes:
        """The first bytes of the content. Raises Invalid, and Unreadable for a damaged .gz."""
        with self.opened() as content:
            return content.read(HEAD_BYTES)

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """The content, of a .gz unpacked. Does not follow a link that has replaced the file since it was listed."""
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise Invalid("It is not a regular file.")  # reading a pipe would block forever
            handle = os.open(self.path, os.O_RDONLY | (0 if self.may_be_link else os.O_NOFOLLOW))
            with open(handle, "rb") as content:
                yield gzip.GzipFile(fileobj=content) if self.is_packed else content  # type: ignore[misc]
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise Unreadable(_DAMAGED) from error
        except OSError as error:
            raise Invalid(f"It cannot be read: {error.strerror}.") from error

    def read(self, max_bytes: int, reason: str) -> bytes:
        """The whole content. Raises Invalid with *reason* if it is longer."""
        with self.opened() as content:
            whole = content.read(max_bytes + 1)
        if len(whole) > max_bytes:
            raise Invalid(reason)
        return whole

    @contextmanager
    def readable_path(self, max_bytes: int) -> Iterator[Path]:
        """A file with the content, for another process: of a .gz a temporary one, of at most *max_bytes*."""
        if not self.is_packed:
            yield self.path.absolute()
            return
        with tempfile.NamedTemporaryFile(suffix=Path(self.inner_name).suffix) as unpacked:
            with self.opened() as content:
                while piece := content.read(PIECE_BYTES):
                    unpacked.write(piece)
                    if unpacked.tell() > max_bytes:
                        raise Invalid(f"It unpacks to more than {max_bytes >> 20} MB (EXTRACT_MEMORY_MB).")
            unpacked.flush()
            yield Path(unpacked.name)
