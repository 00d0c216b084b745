"""Selects the files of folders, says what it passes over and why, and gives each file its doc_id.

The doc_id is the file's path relative to the parent of PATH: ``docs/guide/a.md`` for the PATH ``docs``, ``/srv/docs``
or, from inside it, ``.``. So it is the same in every run, whichever way the folder is named. A prefix replaces the
folder's own name.
"""

from __future__ import annotations

import mimetypes
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from errors import ServiceError
from services.operations.local_files import GZIP, LocalFile
from text.extract.kinds import ARCHIVE, COMPOUND, KINDS, kind_of

_READ = frozenset(suffix for kind in KINDS for suffix in kind.suffixes)
LEFT_OUT = frozenset({".log", ".xml", ".svg"})
SUFFIXES = _READ - LEFT_OUT
NOT_FOLLOWED = "a symbolic link (--follow-links includes its target)"
NO_TYPE, NO_GLOB, HIDDEN = "of no type that is taken", "that no --glob matches", "hidden"

# Not the machine's own table: which files are taken must not depend on it.
_OTHER_TYPES = mimetypes.MimeTypes(filenames=())


@dataclass(frozen=True, slots=True)
class Failure:
    """*name* is the doc_id, or the path of a file without one."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Passed:
    """A file that is not taken, or a link that is not followed."""

    path: Path
    reason: str
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """The files below some paths: those to ingest, those that cannot be read, and the symbolic links not followed.

    *passed* counts the other files by why they were passed over, and by suffix.
    """

    files: tuple[LocalFile, ...]
    failed: tuple[Failure, ...] = ()
    links: tuple[Failure, ...] = ()
    passed: Mapping[str, Counter[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files of a folder are taken: those that match a pattern or, without patterns, those that can be read."""

    patterns: Sequence[str] = ()
    follows_links: bool = False

    def decide(self, path: Path, root: Path) -> Path | Passed:
        """A link that is not followed is not opened either, to see whether its content would be taken."""
        parts = path.relative_to(root).parts
        if path.name.startswith("."):
            return Passed(path, HIDDEN)
        if self.patterns and not any(matches(parts, pattern) for pattern in self.patterns):
            return Passed(path, NO_GLOB)
        if path.is_symlink() and not self.follows_links:
            return Passed(path, NOT_FOLLOWED, is_link=True)
        is_taken = bool(self.patterns) or self._is_taken(LocalFile(path, "", self.follows_links))
        return path if is_taken else Passed(path, NO_TYPE)

    def _is_taken(self, file: LocalFile) -> bool:
        """By its suffix. Of a suffix that says nothing (README.Debian), or none, by its content: text is taken."""
        suffix = Path(file.inner_name).suffix.lower()
        if suffix in _READ:
            return suffix in SUFFIXES
        if _OTHER_TYPES.guess_type(file.inner_name.lower())[0] is not None:
            return False
        try:
            head = file.head()
            return not head or kind_of(head, file.inner_name) not in (ARCHIVE, COMPOUND)
        except ServiceError:
            return False


def matches(parts: Sequence[str], pattern: str) -> bool:
    """Whether a path below a folder matches a pattern: ``*.md`` any file of that name, ``guide/*.md`` those of one
    folder, ``**/old/*.md`` those of any folder ``old``.
    """
    if "/" not in pattern:
        return fnmatchcase(parts[-1], pattern)
    return _match(tuple(parts), tuple(pattern.removeprefix("./").strip("/").split("/")))


def _match(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_match(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _match(parts[1:], pattern[1:])


def find_files(paths: Sequence[Path], selection: Selection | None = None, *, prefix: str | None = None) -> Listing:
    """Returns the files to ingest, each once.

    A path that is no folder is included whatever its name, also if it is a link: it was named explicitly. Hidden files
    of folders are never included, and symbolic links only if they are to be followed: they may lead out of the folder,
    to files that its author could not read.
    """
    selection = selection or Selection()
    files: dict[str, LocalFile] = {}
    failed: list[Failure] = []
    links: list[Failure] = []
    passed: dict[str, Counter[str]] = {}
    visited: set[Path] = set()
    for path in paths:
        root = Path(os.path.normpath(path.absolute()))  # not resolve(): a link keeps its own name
        for entry in _walk(root, selection):
            if isinstance(entry, Failure):
                failed.append(entry)
            elif isinstance(entry, Passed) and entry.is_link:
                links.append(Failure(entry.path.relative_to(root.parent).as_posix(), entry.reason))
            elif isinstance(entry, Passed):
                passed.setdefault(entry.reason, Counter())[_suffix(entry.path)] += 1
            elif entry not in visited:
                visited.add(entry)
                file = LocalFile(entry, _doc_id(entry, root, prefix), selection.follows_links or entry == root)
                if files.setdefault(file.doc_id, file).path != entry:
                    first = files[file.doc_id].path
                    failed.append(Failure(str(entry), f"{first} has the same doc_id: ingest a folder above both."))
    return Listing(tuple(files.values()), tuple(failed), tuple(links), passed)


def _doc_id(path: Path, root: Path, prefix: str | None) -> str:
    below = path.relative_to(root).as_posix() if path != root else path.name
    own = path.relative_to(root.parent).as_posix() if prefix is None else f"{prefix.rstrip('/')}/{below}".lstrip("/")
    return unicodedata.normalize("NFC", own)


def _suffix(path: Path) -> str:
    """Of a.tar.gz, .tar.gz: what is packed is what was not taken."""
    name = path.name.lower()
    inner = Path(name.removesuffix(GZIP)).suffix if name.endswith(GZIP) else ""
    return inner + Path(name).suffix or "without a suffix"


def _walk(root: Path, selection: Selection) -> Iterator[Path | Failure | Passed]:
    try:
        is_folder = root.is_dir()
    except OSError as error:
        yield _unreadable(error, root)
        return
    if not is_folder:
        yield root
        return
    errors: list[OSError] = []
    targets = {root.resolve()}
    for folder, folders, names in os.walk(root, onerror=errors.append, followlinks=selection.follows_links):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for link in [path for path in (Path(folder, name) for name in folders) if path.is_symlink()]:
            reason = _reason_to_skip(link, targets) if selection.follows_links else NOT_FOLLOWED
            if reason is not None:
                folders.remove(link.name)
                yield Passed(link, reason, is_link=True)
        for name in sorted(names):
            yield selection.decide(Path(folder, name), root)
    yield from (_unreadable(error, root) for error in errors)


def _reason_to_skip(link: Path, targets: set[Path]) -> str | None:
    """Each folder is walked once: links that lead to each other would never end."""
    target = link.resolve()
    if any(target.is_relative_to(walked) for walked in targets):
        return "a link to a folder that is included anyway"
    targets.add(target)
    return None


def _unreadable(error: OSError, root: Path) -> Failure:
    return Failure(str(error.filename or root), f"It cannot be read: {error.strerror}.")
