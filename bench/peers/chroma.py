"""Chroma's server as `chroma run` starts it; a collection with cosine distance, its settings else as they come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.own import TOP_K, OwnDocument
from bench.peers.base import PreparedCall
from bench.peers.environments import PeerEnvironment
from bench.peers.http import HttpProcess
from bench.server import KeepAliveClient, request
from domain import Vectors

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"


@dataclass
class ChromaConnection:
    session: KeepAliveClient
    collection: str

    def upsert(self, documents: Sequence[OwnDocument]) -> PreparedCall:
        body = {
            "ids": [name for document in documents for name in document.chunk_ids],
            "documents": [text for document in documents for text in document.texts],
            "embeddings": [vector.tolist() for document in documents for vector in document.vectors],
        }
        return self._call("upsert", body)

    def delete(self, document: OwnDocument) -> PreparedCall:
        return self._call("delete", {"ids": document.chunk_ids})

    def search(self, vector: Vectors) -> PreparedCall:
        return self._call(
            "query", {"query_embeddings": [vector.tolist()], "n_results": TOP_K, "include": ["distances"]}
        )

    def hits(self, answer: bytes) -> list[str]:
        names: list[str] = json.loads(answer)["ids"][0]
        return names

    def close(self) -> None:
        self.session.close()

    def _call(self, verb: str, body: Any) -> PreparedCall:
        return partial(self.session.exchange, request("POST", f"{COLLECTIONS}/{self.collection}/{verb}", body))


@dataclass
class ChromaServer(HttpProcess):
    collection: str = ""

    def connect(self) -> ChromaConnection:
        session = KeepAliveClient(self.port)
        if not self.collection:
            body = {"name": "peers", "configuration": {"hnsw": {"space": "cosine"}}}
            self.collection = session.post(COLLECTIONS, body)["id"]
        return ChromaConnection(session, self.collection)


@dataclass(frozen=True, slots=True)
class Chroma:
    environments: Path
    name: str = "Chroma"

    def version(self) -> str:
        self._environment.install()
        return self._environment.version()

    def opened(self, folder: Path) -> AbstractContextManager[ChromaServer]:
        program = str(self._environment.folder / "bin" / "chroma")
        arguments = [program, "run", "--path", str(folder / "data"), "--host", "127.0.0.1", "--port"]
        return ChromaServer(folder, lambda port: [*arguments, str(port)], {"ANONYMIZED_TELEMETRY": "False"}).running()

    @property
    def _environment(self) -> PeerEnvironment:
        return PeerEnvironment(self.environments / "chroma", ["chromadb"])
