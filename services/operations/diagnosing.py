"""Is everything there that the service needs? Asks the real thing; says what to do where something is wrong."""

from __future__ import annotations

import platform
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from database.engine import Database, Kind
from engines.blobs.base import BlobStore
from engines.embedders.opening import open_embedder
from engines.extraction.extractor import Extractor
from engines.extraction.ocr import has_tesseract
from engines.extraction.sandbox import ADVICE
from engines.vectors.base import VectorStore
from errors import ServiceError, StorageFull
from job_queue import JobQueue
from migrations.upgrade import current_revision
from models import utc_now
from services.index.embedding import EmbeddingService
from version import VERSION

# A worker says that it lives once a minute, between two jobs.
SILENCE = timedelta(minutes=3)
NO_WORKER = "no worker has been seen lately: start one with python worker.py"

# What of a URL is never shown: its user's password, or whoever asks; and the parameters that are called a secret.
_SECRETS = {
    "database_url": (r"//([^:/@]*):.*@", r"//\1:***@"),
    "embed_base_url": (r"//.*@", "//***@"),
    "rate_limit_url": (r"//.*@", "//***@"),
    "llm_base_url": (r"//.*@", "//***@"),
    "rerank_base_url": (r"//.*@", "//***@"),
}
_SECRET_PARAMETER = re.compile(r"([?&][^=&]*(?:pass|key|secret|token)[^=&]*)=[^&]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Finding:
    """*told* says what there is or, of a problem or a warning, what is wrong and what to do."""

    name: str
    told: str
    is_ok: bool = True
    is_warning: bool = False


@dataclass(frozen=True)
class DiagnosingService:
    database: Database
    vectors: VectorStore
    queue: JobQueue
    embedding: EmbeddingService
    blobs: BlobStore
    extractor: Extractor

    def examine(self) -> Iterator[Finding]:
        """One finding after the other, the slow one last. Nothing that is asked here keeps another from being asked."""
        yield _ask("database", self._database)
        yield _ask("disk", self._disk)
        yield _ask("index store", self._index_store)
        yield _ask("raw files", self.blobs.check)
        yield _ask("ocr", self._ocr)
        yield self._reader()
        yield _ask("workers", self._workers)
        yield _ask("model", self._model)

    def has_worker(self) -> bool:
        """A worker at work on a long job is silent, so a running job counts as one that was seen."""
        was_seen = any(utc_now() - worker.seen_at < SILENCE for worker in self.queue.workers())
        return was_seen or self.queue.stats()["running"] > 0

    def _database(self) -> str:
        revision = current_revision(self.database)
        if self.database.kind is not Kind.SQLITE or self.database.file is None:
            return f"{self.database.engine.dialect.name}, schema {revision}"
        files = (self.database.file, Path(f"{self.database.file}-wal"))
        size = sum(file.stat().st_size for file in files if file.exists())
        return f"{self.database.file}, {size / 2**20:.1f} MB, schema {revision}"

    def _disk(self) -> str:
        self.database.refuse_when_nearly_full()
        folder = self.database.file.parent if self.database.file else self.vectors.folder
        return self._free(folder) if folder else "everything is kept by the database"

    def _index_store(self) -> str:
        self.vectors.require_ready()
        folder = self.vectors.folder
        return f"{self.vectors.describe()}, {self._free(folder)}" if folder else self.vectors.describe()

    def _ocr(self) -> str:
        languages = self.extractor.limits.ocr_languages
        if languages and not has_tesseract():
            raise ServiceError("OCR_ENABLED is set, but the program tesseract is not installed.")
        return f"tesseract reads {languages}" if languages else "off"

    def _reader(self) -> Finding:
        """How far the process that reads files is closed off here. It reads on where it is not: that is no problem."""
        try:
            held = self.extractor.protections()
        except ServiceError as error:
            return Finding("file reader", str(error), is_ok=False)
        told = [f"{name}: closed to it" if name in held else advice for name, advice in ADVICE.items()]
        return Finding("file reader", "\n".join(told), is_warning=len(held) < len(ADVICE))

    def _free(self, folder: Path) -> str:
        free, reserve = shutil.disk_usage(folder).free, self.database.min_free_bytes
        if free < reserve:
            raise StorageFull(f"Only {free >> 20} MB are free in {folder}, below {reserve >> 20} (MIN_FREE_DISK_MB).")
        return f"{free >> 20} MB free, {reserve >> 20} MB kept in reserve (MIN_FREE_DISK_MB)"

    def _workers(self) -> str:
        count, seen = self.queue.stats(), self.queue.workers()
        jobs = f"{count['pending']} jobs wait, {count['running']} run"
        if count["pending"] and not self.has_worker():
            raise ServiceError(f"{jobs}, and {NO_WORKER}.")
        now = utc_now()
        names = [f"{worker.name} seen {(now - worker.seen_at).total_seconds():.0f} s ago" for worker in seen]
        return f"{'; '.join(names) or 'none seen'}; {jobs}"

    def _model(self) -> str:
        """Loads it. A version that is not known yet is not registered: looking must not bind its name for good."""
        name, model = self.embedding.version, self.embedding.config.model_name
        started = time.monotonic()
        is_known = self.embedding.has_version(name)
        embedder = self.embedding.embedder(name) if is_known else open_embedder(self.embedding.config)
        seconds = time.monotonic() - started
        named = model if name == model else f"{model} as {name}"
        return f"{named}, {embedder.dimension} dimensions, loaded in {seconds:.1f} s"


def versions() -> str:
    python, sqlite = platform.python_version(), sqlite3.sqlite_version
    libraries = ", ".join(f"{name} {_version_of(name)}" for name in ("faiss-cpu", "openvino"))
    return f"AI-3 DataFactory {VERSION}, Python {python}, SQLite {sqlite}, {libraries}"


def without_secrets(name: str, value: object) -> str:
    """A setting as it may be shown. Those that are secret as a whole are hidden by their type."""
    if name not in _SECRETS:
        return str(value)
    pattern, shown = _SECRETS[name]
    return _SECRET_PARAMETER.sub(r"\1=***", re.sub(pattern, shown, str(value), flags=re.DOTALL))


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _ask(name: str, ask: Callable[[], str]) -> Finding:
    try:
        return Finding(name, ask())
    except ServiceError as error:
        return Finding(name, str(error), is_ok=False)
    except Exception as error:
        # A doctor that falls ill of what the patient has is of no use: whatever it was is the finding.
        told = next(iter(str(error).splitlines()), "")
        return Finding(name, f"{type(error).__name__}: {told}", is_ok=False)
