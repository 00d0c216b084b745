"""The floor: a plain service (floor_app.py) in an environment of its own."""

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
from bench.peers.http import HttpProcess, uvicorn
from bench.server import KeepAliveClient, request
from domain import Vectors


@dataclass
class FloorConnection:
    session: KeepAliveClient

    def upsert(self, documents: Sequence[OwnDocument]) -> PreparedCall:
        chunks = [
            {"id": name, "text": text, "vector": vector.tolist()}
            for document in documents
            for name, text, vector in zip(document.chunk_ids, document.texts, document.vectors, strict=True)
        ]
        return self._call("/upsert", chunks)

    def delete(self, document: OwnDocument) -> PreparedCall:
        return self._call("/delete", document.chunk_ids)

    def search(self, vector: Vectors) -> PreparedCall:
        return self._call("/search", {"vector": vector.tolist(), "top_k": TOP_K})

    def hits(self, answer: bytes) -> list[str]:
        return [chunk["id"] for chunk in json.loads(answer)["chunks"]]

    def close(self) -> None:
        self.session.close()

    def _call(self, path: str, body: Any) -> PreparedCall:
        return partial(self.session.exchange, request("POST", path, body))


@dataclass
class FloorServer(HttpProcess):
    def connect(self) -> FloorConnection:
        return FloorConnection(KeepAliveClient(self.port))


@dataclass(frozen=True, slots=True)
class FloorPeer:
    environments: Path
    name: str = "floor"

    def version(self) -> str:
        self._environment.install()
        return self._environment.version()

    def opened(self, folder: Path) -> AbstractContextManager[FloorServer]:
        variables = {"BENCH_DATA": str(folder / "data")}
        return FloorServer(folder, uvicorn(self._environment.python, "bench.peers.floor_app:app"), variables).running()

    @property
    def _environment(self) -> PeerEnvironment:
        return PeerEnvironment(self.environments / "floor", ["fastapi", "uvicorn[standard]", "faiss-cpu", "orjson"])
