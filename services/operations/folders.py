"""Ingests local files as documents: selects the files, assigns doc_ids, and upserts in batches.

The doc_id is the file's path relative to the parent of PATH: ``docs/guide/a.md`` for the PATH ``docs``, ``/srv/docs``
or, from inside it, ``.``. So it is the same in every run, whichever way the folder is named.
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
from services.ingest.checking import check_new_name
from services.ingest.documents import DocumentService
from services.ingest.drafts import NewDoc, UpsertResult
from text.chunkers.base import STRATEGY_NAMES
from text.extract.base import ExtractedText
from text.extract.kinds import HEAD_BYTES, KINDS, PLAIN, kind_of
from text.extract.plain import decoded

SUFFIXES = frozenset(suffix for kind in KINDS for suffix in kind.suffixes) - {".log", ".xml", ".svg"}
BARE_NAMES = ("LICENSE", "COPYING", "README")
BATCH_DOCS = 16
BATCH_CHARS = 200_000

# They would fail every file, and trying each against a server that is down takes hours.
ABORTING_ERRORS = (ModelUnavailable, VersionUnavailable, DatabaseUnavailable, StorageFull)

NOTHING = UpsertResult()
NOT_FOLLOWED = "a symbolic link (--follow-links includes its target)"
_BYTES_PER_CHAR = 4  # at the most, in UTF-8 and in UTF-16


@dataclass(frozen=True, slots=True)
class LocalFile:
    """*may_be_link*: the file was named explicitly, or links are to be followed."""

    path: Path
    doc_id: str
    may_be_link: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """*name* is the doc_id, or the path of a file without one."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The files below some paths: those to ingest, those that cannot be read, and the symbolic links not followed."""

    files: tuple[LocalFile, ...]
    failed: tuple[Failure, ...] = ()
    links: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for some files. *empty* ones are skipped; what is stored under their doc_id stays."""

    upserted: UpsertResult = NOTHING
    empty: tuple[str, ...] = ()
    failed: tuple[Failure, ...] = ()

    @property
    def files(self) -> int:
        return self.upserted.upserted_docs + self.upserted.skipped_docs + len(self.empty) + len(self.failed)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(self.upserted + other.upserted, self.empty + other.empty, self.failed + other.failed)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the documents go and how they are cut. Without *strategy*, each file's type decides."""

    tenant_id: str
    namespace: str
    strategy: str | None = None
    enrich: bool = True


def find_files(paths: Sequence[Path], patterns: Sequence[str] = (), *, follow_links: bool = False) -> Listing:
    """Returns the files to ingest, each once.

    A path that is no folder is included whatever its name, also if it is a link: it was named explicitly. Of folders,
    the files whose name or relative path matches one of *patterns*, or without patterns the supported types. Hidden
    files are never included, and symbolic links only with *follow_links*: they may lead out of the folder, to files
    that its author could not read.
    """
    files: dict[str, LocalFile] = {}
    failed: list[Failure] = []
    links: list[Failure] = []
    visited: set[Path] = set()
    for path in paths:
        root = Path(os.path.normpath(path.absolute()))  # not resolve(): a link keeps its own name
        for entry in _walk(root, patterns, follow_links=follow_links):
            if isinstance(entry, _Link):
                links.append(Failure(entry.path.relative_to(root.parent).as_posix(), entry.reason))
            elif isinstance(entry, Failure):
                failed.append(entry)
            elif entry not in visited:
                visited.add(entry)
                doc_id = unicodedata.normalize("NFC", entry.relative_to(root.parent).as_posix())
                first = files.setdefault(doc_id, LocalFile(entry, doc_id, follow_links or entry == root))
                if first.path != entry:
                    failed.append(Failure(str(entry), f"{first.path} has the same doc_id: ingest a folder above both."))
    return Listing(tuple(files.values()), tuple(failed), tuple(links))


@dataclass(frozen=True)
class FileIngestingService:
    documents: DocumentService
    extractor: Extractor

    def ingest(self, files: Sequence[LocalFile], target: Target) -> Iterator[Outcome]:
        """Extract, embed and publish batch by batch; each yielded outcome is already committed.

        Raises Invalid for the target, and any of ABORTING_ERRORS.
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
        """Raise once what would fail every file."""
        check_new_name("tenant", target.tenant_id, self.documents.limits.name_chars)
        check_new_name("namespace", target.namespace, self.documents.limits.name_chars)
        if target.strategy is not None and target.strategy not in STRATEGY_NAMES:
            raise Invalid(f"There is no strategy {target.strategy!r}; there are {', '.join(STRATEGY_NAMES)}.")

    def _read(self, file: LocalFile, target: Target) -> NewDoc:
        try:
            file.doc_id.encode()
        except UnicodeEncodeError as error:
            raise Invalid("Its name is not valid UTF-8: rename it.") from error
        extracted = self._extract(file)
        return NewDoc(
            tenant_id=target.tenant_id,
            namespace=target.namespace,
            doc_id=file.doc_id,
            text=extracted.text,
            metadata={"filename": unicodedata.normalize("NFC", file.path.name)},
            title=extracted.title or unicodedata.normalize("NFC", file.path.name),
            source_type="upload",
            mime_type=extracted.mime_type,
            chunk_strategy=target.strategy or extracted.strategy,
            enrich_context=target.enrich,
        )

    def _extract(self, file: LocalFile) -> ExtractedText:
        """Plain text is read here, other types in a child process, which a bad file may kill."""
        path = file.path
        head = _read_bytes(file, HEAD_BYTES)
        if not head:
            return ExtractedText("", "text/plain", "default")
        kind = kind_of(head, path.name)
        if kind not in PLAIN:
            return self.extractor.extract(path.absolute(), path.name)
        max_bytes = _BYTES_PER_CHAR * self.documents.limits.text_chars
        if (size := path.stat().st_size) > max_bytes:
            raise Invalid(f"It has {size} bytes, more than any text that is accepted (MAX_TEXT_CHARS).")
        plain = decoded(_read_bytes(file))
        return ExtractedText(plain.text, kind.mime_type, PLAIN[kind], warnings=plain.caveats)

    def _has_room(self, batch: Sequence[NewDoc], doc: NewDoc) -> bool:
        chars = sum(len(doc.text) for doc in batch)
        return len(batch) < min(BATCH_DOCS, self.documents.limits.batch_docs) and chars + len(doc.text) <= BATCH_CHARS

    def _upsert(self, docs: Sequence[NewDoc]) -> Iterator[Outcome]:
        """Upsert all at once; if that fails, one by one, so that only the document at fault fails."""
        try:
            yield Outcome(self.documents.upsert(docs))
        except ABORTING_ERRORS:
            raise
        except ServiceError as error:
            if len(docs) == 1:
                yield Outcome(failed=(Failure(docs[0].doc_id, str(error)),))
                return
            for doc in docs:
                yield from self._upsert([doc])


def _read_bytes(file: LocalFile, max_bytes: int = -1) -> bytes:
    """Does not follow a link that has replaced the file since the folder was walked."""
    try:
        if not stat.S_ISREG(file.path.stat().st_mode):
            raise Invalid("It is not a regular file.")  # reading a pipe would block forever
        handle = os.open(file.path, os.O_RDONLY | (0 if file.may_be_link else os.O_NOFOLLOW))
        with open(handle, "rb") as opened:
            return opened.read(max_bytes)
    except OSError as error:
        raise Invalid(f"It cannot be read: {error.strerror}.") from error


@dataclass(frozen=True, slots=True)
class _Link:
    """A symbolic link that is not followed."""

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
            reason = _reason_to_skip(link, targets) if follow_links else NOT_FOLLOWED
            if reason is not None:
                folders.remove(link.name)
                yield _Link(link, reason)
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and _matches(path.relative_to(root).as_posix(), patterns):
                yield _Link(path, NOT_FOLLOWED) if path.is_symlink() and not follow_links else path
    yield from (_unreadable(error, root) for error in errors)


def _reason_to_skip(link: Path, targets: set[Path]) -> str | None:
    """Each folder is walked once: links that lead to each other would never end."""
    target = link.resolve()
    if any(target.is_relative_to(walked) for walked in targets):
        return "a link to a folder that is included anyway"
    targets.add(target)
    return None


def _matches(path: str, patterns: Sequence[str]) -> bool:
    name = Path(path).name
    if not patterns:
        return Path(name).suffix.lower() in SUFFIXES or ("." not in name and name.upper().startswith(BARE_NAMES))
    # fnmatch lets * cross folders; the variant without **/ lets it match no folder at all
    variants = {variant for pattern in patterns for variant in (pattern, pattern.replace("**/", ""))}
    return any(fnmatchcase(path, variant) or fnmatchcase(name, variant) for variant in variants)


def _unreadable(error: OSError, root: Path) -> Failure:
    return Failure(str(error.filename or root), f"It cannot be read: {error.strerror}.")
