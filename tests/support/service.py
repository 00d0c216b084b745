"""The service under test: its HTTP API in this process, and a worker that runs on demand."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import make_url, update

import runtime.index
from app_v1 import create_app
from database.dialects import epoch_now
from database.engine import Database
from domain import JobStatus
from engines.embedders.base import Embedder, EmbedderConfig
from engines.embedders.opening import open_embedder
from handlers import HANDLERS
from migrations.upgrade import bring_up_to_date
from models import Job
from runtime.index import embedder_config
from runtime.opening import open_runtime
from runtime.parts import Runtime
from settings import Settings
from tests.support.cached_embedder import CachedEmbedder
from tests.support.documented import require_documented
from tests.support.embedding_server import EmbeddingServer, embedding_server
from tests.support.postgres import PostgresServer, running_server
from worker import Worker

Opener = Callable[[EmbedderConfig], Embedder]
PLACE = {"tenant_id": "acme", "namespace": "project_001"}
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class Service:
    def __init__(self, settings: Settings, client: TestClient, runtime: Runtime) -> None:
        self.settings, self.client, self.runtime = settings, client, runtime
        self.worker = Worker(runtime, HANDLERS, name="test")

    def post(self, path: str, body: dict[str, Any], *, expect: int = 200, **kwargs: Any) -> Any:
        return _checked(self.client.post(path, json=body, **kwargs), expect)

    def get(self, path: str, params: dict[str, Any] | None = None, *, expect: int = 200) -> Any:
        return _checked(self.client.get(path, params=params), expect)

    def upsert(self, doc_id: str, text: str, *, expect: int = 200, **more: Any) -> Any:
        return self.post("/v1/docs/upsert", {**PLACE, "doc_id": doc_id, "text": text, **more}, expect=expect)

    def batch(self, docs: dict[str, str], **more: Any) -> Any:
        items = [{**PLACE, "doc_id": doc_id, "text": text} for doc_id, text in docs.items()]
        return self.post("/v1/docs/upsert/batch", {"docs": items, **more})

    def delete(self, doc_id: str, *, expect: int = 200, **place: str) -> Any:
        return _checked(self.client.delete(f"/v1/docs/{doc_id}", params={**PLACE, **place}), expect)

    def doc(self, doc_id: str, *, expect: int = 200) -> Any:
        return self.get(f"/v1/docs/{doc_id}", PLACE, expect=expect)

    def chunks(self, doc_id: str) -> Any:
        return self.get(f"/v1/docs/{doc_id}/chunks", {**PLACE, "limit": 1000})["data"]

    def search(self, query: str, *, expect: int = 200, **more: Any) -> Any:
        return self.post("/v1/search", {**PLACE, "query": query, **more}, expect=expect)

    def hit_ids(self, query: str, **more: Any) -> list[str]:
        """Searches; returns the doc_ids of the hits, best first."""
        return [chunk["doc_id"] for chunk in self.search(query, **more)["chunks"]]

    def job(self, job_id: str) -> Any:
        return self.get(f"/v1/jobs/{job_id}")

    def work(self) -> int:
        """Run every job that can run. Returns how many."""
        done = 0
        while self.worker.run_one():
            done += 1
        return done

    def rebuild(self, **more: Any) -> Any:
        """Requests a rebuild and runs it; returns its job."""
        job_id = self.post("/v1/index/rebuild", {**PLACE, **more})["job_id"]
        self.work()
        return self.job(job_id)

    def stats(self) -> Any:
        [index] = self.get("/v1/index/stats", PLACE)["indices"]
        return index

    def index_files(self) -> list[Path]:
        return sorted(self.settings.index_dir.rglob("*.faiss"))

    @property
    def keeps_files(self) -> bool:
        """Is its index in files, one per rebuilt partition?"""
        return self.runtime.index.indexing.vectors.folder is not None

    def problems(self) -> list[str]:
        """Returns the problems that verify reports, of all namespaces, and what is still to be written."""
        verdicts = self.runtime.index.verifying.verify()
        return [line for verdict in verdicts for line in (*verdict.problems, *verdict.unwritten)]

    @contextmanager
    def restarted(self, **changed: Any) -> Iterator[Service]:
        """Opens another service on the same files, as a new process would."""
        with open_service(Settings(**{**self.settings.model_dump(), **changed})) as service:
            yield service


@contextmanager
def open_service(settings: Settings) -> Iterator[Service]:
    """Opens the service. A missing SQLite file is created with the current schema."""
    put_migrated_file(settings.database_url)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client, open_runtime(settings) as runtime:
        client.event_hooks = {"response": [require_documented]}
        yield Service(settings, client, runtime)


def settings_in(folder: Path, **changed: Any) -> Settings:
    """The embedded default with the bundled model, everything in one folder."""
    defaults = {
        "database_url": f"sqlite:///{folder}/rag.db",
        "index_dir": folder / "indices",
        "blob_store_url": f"file://{folder}/raw_files",
        "receipt_key_file": folder / "receipt_key",
        "embed_model_name": MODEL,
        "min_free_disk_mb": 0,
        "job_retry_seconds": 0.0,
        "worker_silence_seconds": 0.0,
    }
    return Settings(**{**defaults, **changed})


def put_migrated_file(database_url: str) -> None:
    """Copies a migrated SQLite file, unless one exists: migrating takes twenty times as long."""
    url = make_url(database_url)
    file = Path(url.database or "")
    if url.get_backend_name() == "sqlite" and file.parent.is_dir() and not file.exists():
        file.write_bytes(_migrated_file())


@functools.cache
def _migrated_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        _migrate(f"sqlite:///{folder}/rag.db")
        return Path(folder, "rag.db").read_bytes()


def _migrate(url: str) -> None:
    with Database.open(url) as database:
        bring_up_to_date(database)


def vectors_of(server: EmbeddingServer) -> dict[str, Any]:
    """Returns the settings under which *server* is the embedder."""
    return {"embed_backend": "remote", "embed_base_url": server.url, "embed_model_name": "bundled"}


def end_leases(database: Database) -> None:
    """Expires all leases, so that no test has to wait for it."""
    with database.write() as session:
        session.execute(update(Job).where(Job.status == JobStatus.RUNNING).values(lease_until=epoch_now() - 1))


@pytest.fixture(scope="session", autouse=True)
def one_bundled_model() -> Iterator[Opener]:
    """Loads the bundled model once for the whole run, and embeds each text once; other models are not cached."""
    cached = functools.cache(lambda config: CachedEmbedder(open_embedder(config)))

    def opened(config: EmbedderConfig) -> Embedder:
        is_bundled = (config.model_name, config.backend) == (MODEL, "auto")
        return cached(config) if is_bundled else open_embedder(config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime.index, "open_embedder", opened)
        yield opened


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The same server, with the current schema as template of new databases."""
    with postgres.database() as url:
        _migrate(url)
        yield PostgresServer(postgres.url, template=make_url(url).database or "")


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database; a test that takes it runs on both kinds."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/rag.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Likewise, with the current schema and no rows."""
    with _migrated_database(request, request.param, tmp_path) as url:
        yield url


@contextmanager
def _migrated_database(request: pytest.FixtureRequest, kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        url = f"sqlite:///{folder}/rag.db"
        put_migrated_file(url)
        yield url
        return
    server: PostgresServer = request.getfixturevalue("migrated_postgres")
    with server.database() as url:
        yield url


class Store(StrEnum):
    """The vector stores: the default of each database, and the alternative of Postgres."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"
    POSTGRES_FAISS = "postgres-faiss"


every_store = pytest.mark.parametrize("service", list(Store), indirect=True)
every_faiss_store = pytest.mark.parametrize("service", [Store.SQLITE, Store.POSTGRES_FAISS], indirect=True)
pgvector_alone = pytest.mark.parametrize("service", [Store.POSTGRES], indirect=True)


@pytest.fixture(params=[Store.SQLITE, Store.POSTGRES])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """The service on both databases, each with its default store; the marks above choose others."""
    with _service_on(request, tmp_path) as service:
        yield service


@pytest.fixture(scope="module", params=[Store.SQLITE, Store.POSTGRES])
def shared_service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Likewise, shared by all tests of a file that change nothing: refusals and reads."""
    with _service_on(request, tmp_path_factory.mktemp("shared")) as service:
        yield service


@pytest.fixture(scope="session")
def bundled_model(one_bundled_model: Opener) -> Embedder:
    """Takes its time for every text, as tests that kill somebody amid the work expect."""
    cached = one_bundled_model(embedder_config(settings_in(Path())))
    assert isinstance(cached, CachedEmbedder)
    return cached.embedder


@pytest.fixture(scope="session")
def remote(bundled_model: Embedder) -> Iterator[dict[str, Any]]:
    """Settings under which processes embed with this process's bundled model instead of loading one."""
    with embedding_server(bundled_model) as server:
        yield vectors_of(server)


@pytest.fixture(params=[Store.SQLITE, Store.POSTGRES])
def remote_service(request: pytest.FixtureRequest, tmp_path: Path, remote: dict[str, Any]) -> Iterator[Service]:
    """Like service, for tests that start real processes with its settings and do not depend on the model."""
    with _service_on(request, tmp_path, **remote) as service:
        yield service


@contextmanager
def _service_on(request: pytest.FixtureRequest, folder: Path, **changed: Any) -> Iterator[Service]:
    if request.param == Store.POSTGRES_FAISS:
        changed["vector_store"] = "faiss"
    with (
        _migrated_database(request, request.param.partition("-")[0], folder) as url,
        open_service(settings_in(folder, database_url=url, **changed)) as service,
    ):
        yield service


def environment(settings: Settings) -> dict[str, str]:
    """Returns the environment of a real process with these settings."""
    changed = settings.model_dump(exclude_defaults=True, exclude={"embed_api_key"})
    plain = {name: each.get_secret_value() if isinstance(each, SecretStr) else each for name, each in changed.items()}
    return {**os.environ, **{name.upper(): str(value) for name, value in plain.items()}}


def _checked(answer: Any, expect: int) -> Any:
    assert answer.status_code == expect, answer.text
    return answer.json()
