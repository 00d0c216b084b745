"""Checks everything that the service depends on, by using it, and advises where something is wrong."""

from __future__ import annotations

import platform
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from database.engine import Database, DatabaseKind
from engines.blobs.base import BlobStore
from engines.extraction.extractor import Extractor
from engines.extraction.ocr import has_tesseract
from engines.extraction.sandbox import ADVICE
from engines.vectors.base import VectorStore
from errors import ServiceError, StorageFull
from job_queue import JobQueue
from migrations.upgrade import current_revision
from services.index.embedding import EmbeddingService
from services.index.installation import chosen_version, difference_from
from services.operations.scheduled_backups import ScheduledBackups
from services.operations.script_check import ScriptCheck
from services.operations.workers import NO_WORKER, WorkerService
from version import VERSION

# The parts of a URL to mask: the password, or all user info; and parameters whose names suggest a secret.
_SECRETS = {
    "database_url": (r"//([^:/@]*):.*@", r"//\1:***@"),
    "embed_base_url": (r"//.*@", "//***@"),
    "rate_limit_url": (r"//.*@", "//***@"),
    "llm_base_url": (r"//.*@", "//***@"),
    "rerank_base_url": (r"//.*@", "//***@"),
    "backup_url": (r"//.*@", "//***@"),
}
_SECRET_PARAMETER = re.compile(r"([?&][^=&]*(?:pass|key|secret|token)[^=&]*)=[^&]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Finding:
    """*detail* describes the state or, for a problem or a warning, what is wrong and what to do."""

    name: str
    detail: str
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
    scripts: ScriptCheck
    workers: WorkerService
    backups: ScheduledBackups

    def examine(self) -> Iterator[Finding]:
        """Yields finding after finding, the slow ones last. A check that fails does not prevent the others."""
        yield _check("database", self._database)
        yield _check("disk", self._disk)
        yield _check("index store", self._index_store)
        yield _check("raw files", self.blobs.check)
        yield _check("ocr", self._ocr)
        yield self._reader()
        yield _check("workers", self._workers)
        yield _check("backups", self.backups.describe)
        yield _check("model", self._model)
        yield self._scripts()
        yield from self._installation()

    def _database(self) -> str:
        revision = current_revision(self.database)
        if self.database.kind is not DatabaseKind.SQLITE or self.database.file is None:
            return f"{self.database.engine.dialect.name}, schema {revision}"
        files = (self.database.file, Path(f"{self.database.file}-wal"))
        size = sum(file.stat().st_size for file in files if file.exists())
        return f"{self.database.file}, {size / 2**20:.1f} MB, schema {revision}"

    def _disk(self) -> str:
        self.database.refuse_when_nearly_full()
        folder = self.database.file.parent if self.database.file else self.vectors.folder
        return self._free(folder) if folder else "everything is in the database"

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
        """Reports how far the extraction process is sandboxed. A missing protection is a warning: it works without."""
        try:
            active = self.extractor.protections()
        except ServiceError as error:
            return Finding("file reader", str(error), is_ok=False)
        details = [f"{name}: closed to it" if name in active else advice for name, advice in ADVICE.items()]
        return Finding("file reader", "\n".join(details), is_warning=len(active) < len(ADVICE))

    def _free(self, folder: Path) -> str:
        free, reserve = shutil.disk_usage(folder).free, self.database.min_free_bytes
        if free < reserve:
            raise StorageFull(f"Only {free >> 20} MB are free in {folder}, below {reserve >> 20} (MIN_FREE_DISK_MB).")
        return f"{free >> 20} MB free, {reserve >> 20} MB kept in reserve (MIN_FREE_DISK_MB)"

    def _workers(self) -> str:
        count, workers = self.queue.stats(), self.workers.present()
        jobs = f"{count['pending']} jobs wait, {count['running']} run"
        if backlog := self.workers.backlog():
            raise ServiceError(str(backlog))
        if count["pending"] and not self.workers.is_any_alive():
            raise ServiceError(f"{jobs}, and {NO_WORKER}.")
        names = [f"{each.name} seen {each.silent_seconds:.0f} s ago, {each.doing or 'idle'}" for each in workers]
        return f"{'; '.join(names) or 'none seen'}; {jobs}"

    def _model(self) -> str:
        """Loads the model. Does not register a new version: a diagnosis must not bind its name permanently."""
        name, model = self.embedding.version, self.embedding.config.model_name
        started = time.monotonic()
        is_registered = self.embedding.has_version(name)
        config = self.embedding.config
        embedder = self.embedding.embedder(name) if is_registered else self.embedding.open_embedder(config)
        seconds = time.monotonic() - started
        label = model if name == model else f"{model} as {name}"
        return f"{label}, {embedder.dimension} dimensions, loaded in {seconds:.1f} s"

    def _scripts(self) -> Finding:
        """Comes after the model: only namespaces of a model that is loaded can be looked at."""
        try:
            warnings = self.scripts.all_warnings()
        except (ServiceError, SQLAlchemyError) as error:
            return Finding("languages", str(error).partition("\n")[0], is_ok=False)
        detail = "\n".join(warnings) or "the model reads the scripts of all namespaces that it serves"
        return Finding("languages", detail, is_warning=bool(warnings))

    def _installation(self) -> Iterator[Finding]:
        """Another model than the installation's may be meant, while namespaces move to it."""
        with self.database.read() as session:
            chosen = chosen_version(session)
        if chosen is not None and (difference := difference_from(chosen, self.embedding.version)):
            yield Finding("installation", difference, is_warning=True)


def versions() -> str:
    python, sqlite = platform.python_version(), sqlite3.sqlite_version
    libraries = ", ".join(f"{name} {_version_of(name)}" for name in ("faiss-cpu", "openvino"))
    return f"AI-3 DataFactory {VERSION}, Python {python}, SQLite {sqlite}, {libraries}"


def without_secrets(name: str, value: object) -> str:
    """Masks the secret parts of a setting's value. Values that are secret as a whole are masked by their type."""
    if name not in _SECRETS:
        return str(value)
    pattern, replacement = _SECRETS[name]
    return _SECRET_PARAMETER.sub(r"\1=***", re.sub(pattern, replacement, str(value), flags=re.DOTALL))


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _check(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, check())
    except ServiceError as error:
        return Finding(name, str(error), is_ok=False)
    except Exception as error:
        # Any error is a finding: the diagnosis itself must not fail of what it diagnoses.
        first_line = next(iter(str(error).splitlines()), "")
        return Finding(name, f"{type(error).__name__}: {first_line}", is_ok=False)
