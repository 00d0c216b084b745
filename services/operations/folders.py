"""Files of this machine become documents: which files, under which doc_id, in batches where none stops another.

The doc_id is the file's path from the parent of the given PATH on: ``docs/guide/a.md`` for the PATH ``docs``,
``/srv/docs`` or, from inside it, ``.``. So it is the same whichever way the folder is named, in every run.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from engines.extraction.extractor import Extractor
from errors import (
    DatabaseUnavailable,
    Invalid,
    ModelUnavailable,
    ServiceError,
    StorageFull,
    Unreadable,
    VersionUnavailable,
)
from services.index.names import check_new_name
from services.ingest.documents import DocumentService
from services.ingest.drafts import NewDoc, Upserted
from text.chunkers.base import STRATEGY_NAMES
from text.extract.base import ExtractedText
from text.extract.kinds import HEAD_BYTES, KINDS, PLAIN, kind_of
from text.extract.plain import decoded

SUFFIXES = frozenset(suffix for kind in KINDS for suffix in kind.suffixes) - {".log", ".xml", ".svg"}
BARE_NAMES = ("LICENSE", "COPYING", "README")
BATCH_DOCS = 16
BATCH_CHARS = 200_000

# No other file would fare better, and trying each against a server that is away takes hours.
OF_NO_FILE = (ModelUnavailable, VersionUnavailable, DatabaseUnavailable, StorageFull)

NOTHING = Upserted()
NOT_FOLLOWED = "a symbolic link (--follow-links takes what it leads to)"
_BYTES_PER_CHAR = 4  # at the most, in UTF-8 and in UTF-16


@dataclass(frozen=True, slots=True)
class File:
    """*may_be_link*: somebody named it, or wants links to be followed."""

    path: Path
    doc_id: str
    may_be_link: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """*name* is the doc_id, or the path of what did not get one."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What some paths lead to: *files* to take, what cannot be taken, and symbolic links that were passed over."""

    files: tuple[File, ...]
    failed: tuple[Failure, ...] = ()
    links: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of some files. *empty* ones are passed over; what was stored under their doc_id stays."""

    done: Upserted = NOTHING
    empty: tuple[str, ...] = ()
    failed: tuple[Failure, ...] = ()

    @property
    def files(self) -> int:
        return self.done.upserted_docs + self.done.skipped_docs + len(self.empty) + len(self.failed)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(self.done + other.done, self.empty + other.empty, self.failed + other.failed)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the documents go, and how they are cut. No strategy: the one that fits each file's type."""

    tenant_id: str
    namespace: str
    strategy: str | None = None
    enrich: bool = True


def find_files(paths: Sequence[Path], patterns: Sequence[str] = (), *, follow_links: bool = False) -> Listing:
    """The files to take, each once.

    A path that is no folder is taken whatever it is called, also where it is a link: somebody named it. In folders
    those that match one of *patterns*, by their name or by their path from the folder on, or without patterns the usual
    types; nothing hidden, and nothing behind a symbolic link unless *follow_links*: it may lead out of the folder, to
    what whoever filled it could not read.
    """
    files: dict[str, File] = {}
    failed: list[Failure] = []
    links: list[Failure] = []
    seen: set[Path] = set()
    for given in paths:
        root = Path(os.path.normpath(given.absolute()))  # not resolve(): a link goes by the name that was given
        for found in _walk(root, patterns, follow_links=follow_links):
            if isinstance(found, _Link):
                links.append(Failure(found.path.relative_to(root.parent).as_posix(), found.reason))
            elif isinstance(found, Failure):
                failed.append(found)
            elif found not in seen:
                seen.add(found)
                doc_id = unicodedata.normalize("NFC", found.relative_to(root.parent).as_posix())
                first = files.setdefault(doc_id, File(found, doc_id, follow_links or found == root))
                if first.path != found:
                    failed.append(Failure(str(found), f"{first.path} has the same doc_id: ingest a folder above both."))
    return Listing(tuple(files.values()), tuple(failed), tuple(links))


@dataclass(frozen=True)
class FileIngestingService:
    documents: DocumentService
    extractor: Extractor

    def ingest(self, files: Sequence[File], target: Target) -> Iterator[Outcome]:
        """Read, embed and publish, batch by batch; each outcome is kept when it comes.

        Raises Invalid for the target, and the errors of OF_NO_FILE.
        """
        self._check(target)
        batch: list[NewDoc] = []
        for file in files:
            try:
                doc = self._read(file, target)
            except (Invalid, Unreadable) as error:
                yield Outcome(failed=(Failure(file.doc_id, str(error)),))
                continue
            if not doc.text.strip():
                yield Outcome(empty=(file.doc_id,))
                continue
            if batch and not self._has_room(batch, doc):
                yield from self._upsert(batch)
                batch = []
            batch.append(doc)
        if batch:
            yield from self._upsert(batch)

    def _check(self, target: Target) -> None:
        """What is wrong for every file alike is said once."""
        check_new_name("tenant", target.tenant_id, self.documents.limits.name_chars)
        check_new_name("namespace", target.namespace, self.documents.limits.name_chars)
        if target.strategy is not None and target.strategy not in STRATEGY_NAMES:
            raise Invalid(f"There is no strategy {target.strategy!r}; there are {', '.join(STRATEGY_NAMES)}.")

    def _read(self, file: File, target: Target) -> NewDoc:
        try:
            file.doc_id.encode()
        except UnicodeEncodeError as error:
            raise Invalid("Its name is not valid UTF-8: rename it.") from error
        found = self._text_of(file)
        return NewDoc(
            tenant_id=target.tenant_id,
            namespace=target.namespace,
            doc_id=file.doc_id,
            text=found.text,
            metadata={"filename": unicodedata.normalize("NFC", file.path.name)},
            title=found.title or unicodedata.normalize("NFC", file.path.name),
            source_type="upload",
            mime_type=found.mime_type,
            chunk_strategy=target.strategy or found.strategy,
            enrich_context=target.enrich,
        )

    def _text_of(self, file: File) -> ExtractedText:
        """What is text already is read here; for the rest a process is started, which may die of it."""
        path = file.path
        head = _content(file, HEAD_BYTES)
        if not head:
            return ExtractedText("", "text/plain", "default")
        kind = kind_of(head, path.name)
        if kind not in PLAIN:
            return self.extractor.extract(path.absolute(), path.name)
        most_bytes = _BYTES_PER_CHAR * self.documents.limits.text_chars
        if (size := path.stat().st_size) > most_bytes:
            raise Invalid(f"It has {size} bytes, more than any text that is accepted (MAX_TEXT_CHARS).")
        found = decoded(_content(file))
        return ExtractedText(found.text, kind.mime_type, PLAIN[kind], warnings=found.caveats)

    def _has_room(self, batch: Sequence[NewDoc], doc: NewDoc) -> bool:
        chars = sum(len(each.text) for each in batch)
        return len(batch) < min(BATCH_DOCS, self.documents.limits.batch_docs) and chars + len(doc.text) <= BATCH_CHARS

    def _upsert(self, docs: Sequence[NewDoc]) -> Iterator[Outcome]:
        """All at once; one by one if that fails, so that the guilty one is found and the others are kept."""
        try:
            yield Outcome(self.documents.upsert(docs))
        except OF_NO_FILE:
            raise
        except ServiceError as error:
            if len(docs) == 1:
                yield Outcome(failed=(Failure(docs[0].doc_id, str(error)),))
                return
            for doc in docs:
                yield from self._upsert([doc])


def _content(file: File, most_bytes: int = -1) -> bytes:
    """A link that has taken the place of a file since the folder was walked is not followed."""
    try:
        if not stat.S_ISREG(file.path.stat().st_mode):
            raise Invalid("It is not a regular file.")  # and reading a pipe would wait for ever
        handle = os.open(file.path, os.O_RDONLY | (0 if file.may_be_link else os.O_NOFOLLOW))
        with open(handle, "rb") as opened:
            return opened.read(most_bytes)
    except OSError as error:
        raise Invalid(f"It cannot be read: {error.strerror}.") from error


@dataclass(frozen=True, slots=True)
class _Link:
    """A symbolic link that is passed over."""

    path: Path
    reason: str


def _walk(root: Path, patterns: Sequence[str], *, follow_links: bool) -> Iterator[Path | Failure | _Link]:
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
    for folder, folders, names in os.walk(root, onerror=errors.append, followlinks=follow_links):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for link in [path for path in (Path(folder, name) for name in folders) if path.is_symlink()]:
            reason = _why_not_walked(link, targets) if follow_links else NOT_FOLLOWED
            if reason is not None:
                folders.remove(link.name)
                yield _Link(link, reason)
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and _is_wanted(path.relative_to(root).as_posix(), patterns):
                yield _Link(path, NOT_FOLLOWED) if path.is_symlink() and not follow_links else path
    yield from (_unreadable(error, root) for error in errors)


def _why_not_walked(link: Path, targets: set[Path]) -> str | None:
    """Each folder is walked once, or links that lead to each other would be walked for ever."""
    target = link.resolve()
    if any(target.is_relative_to(each) for each in targets):
        return "a link to a folder that is taken anyway"
    targets.add(target)
    return None


def _is_wanted(path: str, patterns: Sequence[str]) -> bool:
    name = Path(path).name
    if not patterns:
        return Path(name).suffix.lower() in SUFFIXES or ("." not in name and name.upper().startswith(BARE_NAMES))
    # fnmatch lets * cross folders; taking **/ away as well lets it stand for no folder at all
    several = {each for pattern in patterns for each in (pattern, pattern.replace("**/", ""))}
    return any(fnmatchcase(path, each) or fnmatchcase(name, each) for each in several)


def _unreadable(error: OSError, root: Path) -> Failure:
    return Failure(str(error.filename or root), f"It cannot be read: {error.strerror}.")
