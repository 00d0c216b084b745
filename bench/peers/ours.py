"""The service as README starts it: an API and a worker, on SQLite with FAISS or on Postgres with pgvector."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.corpus import MODEL, TENANT
from bench.own import TOP_K, OwnDocument
from bench.peers.base import PreparedCall
from bench.peers.environments import this_environment
from bench.peers.http import HttpProcess, uvicorn
from bench.peers.postgres import PostgresData, postgres
from bench.server import ROOT, KeepAliveClient, environment, request, start, stop
from domain import Vectors
from settings import Settings

NAMESPACE = "peers"
SETTLE_SECONDS = 900.0
WORKER_OPTIONS = ("--poll-interval", "0.2")


def as_json(vector: Vectors) -> Any:
    return vector.tolist()


def as_base64(vector: Vectors) -> Any:
    return {"base64": base64.b64encode(vector.tobytes()).decode()}


@dataclass
class OurConnection:
    """*written* is how a vector is written into a body."""

    session: KeepAliveClient
    written: Callable[[Vectors], Any] = as_json
    namespace: str = NAMESPACE

    def upsert(self, documents: Sequence[OwnDocument]) -> PreparedCall:
        docs = [self._doc(document) for document in documents]
        if len(docs) == 1:
            return self._call("POST", "/v1/docs/upsert", docs[0])
        return self._call("POST", "/v1/docs/upsert/batch", {"docs": docs})

    def delete(self, document: OwnDocument) -> PreparedCall:
        path = f"/v1/docs/{document.doc_id}?tenant_id={TENANT}&namespace={self.namespace}"
        return self._call("DELETE", path)

    def search(self, vector: Vectors, *, top_k: int = TOP_K, **more: Any) -> PreparedCall:
        body = {**self._place, "vector": self.written(vector), "top_k": top_k, "include": [], **more}
        return self._call("POST", "/v1/search", body)

    def hits(self, answer: bytes) -> list[str]:
        return [chunk["chunk_id"] for chunk in json.loads(answer)["chunks"]]

    def close(self) -> None:
        self.session.close()

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> PreparedCall:
        return partial(self.session.exchange, request(method, path, body))

    @property
    def _place(self) -> dict[str, Any]:
        return {"tenant_id": TENANT, "namespace": self.namespace}

    def _doc(self, document: OwnDocument) -> dict[str, Any]:
        pairs = zip(document.texts, document.vectors, strict=True)
        chunks = [{"text": text, "vector": self.written(vector)} for text, vector in pairs]
        return {**self._place, "doc_id": document.doc_id, "chunks": chunks, "metadata": document.metadata}


@dataclass
class OurServer:
    """The API's process and the worker's, whose niceness is the service's own. *checkout* has the code."""

    settings: Settings
    folder: Path
    written: Callable[[Vectors], Any] = as_json
    database: PostgresData | None = None
    checkout: Path = ROOT
    api: HttpProcess = field(init=False)
    worker: Any = None

    def __post_init__(self) -> None:
        command = uvicorn(sys.executable, "app_v1:app", "--app-dir", str(self.checkout))
        self.api = HttpProcess(self.folder, command, environment(self.settings))

    def start(self) -> None:
        self.api.start()
        command = [sys.executable, str(self.checkout / "worker.py"), *WORKER_OPTIONS]
        self.worker = start(command, environment(self.settings), self.folder / "worker.log")

    def stop(self) -> None:
        self.api.stop()
        if self.worker is not None:
            stop(self.worker)
            self.worker = None

    def connect(self, namespace: str = NAMESPACE) -> OurConnection:
        return OurConnection(KeepAliveClient(self.api.port), self.written, namespace)

    def settle(self) -> None:
        """Waits for the worker, which builds indexes behind what was ingested."""
        connection = self.connect()
        give_up = time.monotonic() + SETTLE_SECONDS
        while any(connection.session.get("/v1/queue/stats").get(each) for each in ("pending", "running")):
            assert time.monotonic() < give_up, "the worker does not come to an end"
            time.sleep(0.2)
        connection.close()

    def pids(self) -> list[int]:
        worker = [] if self.worker is None else [self.worker.pid]
        return [*self.api.pids(), *worker, *([] if self.database is None else self.database.pids())]

    def disk(self) -> int:
        return self.api.disk() + (0 if self.database is None else self.database.size())


@dataclass(frozen=True, slots=True)
class Ours:
    is_on_postgres: bool = False
    written: Callable[[Vectors], Any] = as_json
    checkout: Path = ROOT

    @property
    def name(self) -> str:
        return "ours, Postgres" if self.is_on_postgres else "ours"

    def version(self) -> str:
        return this_environment("fastapi", "uvicorn", "faiss-cpu", "sqlalchemy")

    @contextmanager
    def opened(self, folder: Path) -> Iterator[OurServer]:
        with ExitStack() as stack:
            database = stack.enter_context(postgres()) if self.is_on_postgres else None
            url = f"sqlite:///{folder}/data/rag.db" if database is None else database.url
            server = OurServer(our_settings(folder, url), folder, self.written, database, self.checkout)
            stack.callback(server.stop)
            server.start()
            yield server


def our_settings(folder: Path, url: str) -> Settings:
    """The defaults, apart from paths."""
    return Settings(database_url=url, index_dir=folder / "data" / "indices", embed_model_name=MODEL, min_free_disk_mb=0)
