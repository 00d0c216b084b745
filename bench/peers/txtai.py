"""txtai's API server. It takes no vectors over HTTP, so its model is a table of them (txtai_vectors.py).

Texts are added to a buffer, and `upsert` indexes and saves them: only then are they searchable and on disk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from bench.own import TOP_K, OwnDocument
from bench.peers.base import PreparedCall
from bench.peers.environments import PeerEnvironment
from bench.peers.http import HttpProcess, uvicorn
from bench.server import KeepAliveClient, request
from domain import Vectors

_CONFIG = """
path: {folder}/data/index
writable: true
embeddings:
  method: external
  transform: bench.peers.txtai_vectors.transform
  content: true
"""


@dataclass
class TxtaiConnection:
    session: KeepAliveClient
    table: Path

    def upsert(self, documents: Sequence[OwnDocument]) -> PreparedCall:
        pairs = [
            {"id": name, "text": text}
            for document in documents
            for name, text in zip(document.chunk_ids, document.texts, strict=True)
        ]
        self._remember([pair["text"] for pair in pairs], np.concatenate([each.vectors for each in documents]))
        return self._calls(request("POST", "/add", pairs), request("GET", "/upsert"))

    def delete(self, document: OwnDocument) -> PreparedCall:
        return self._calls(request("POST", "/delete", document.chunk_ids))

    def search(self, vector: Vectors) -> PreparedCall:
        query = vector.tobytes().hex()[:64]
        self._remember([query], vector[np.newaxis])
        return self._calls(request("GET", f"/search?query={quote(query)}&limit={TOP_K}"))

    def hits(self, answer: bytes) -> list[str]:
        return [hit["id"] for hit in json.loads(answer)]

    def close(self) -> None:
        self.session.close()

    def _calls(self, *contents: bytes) -> PreparedCall:
        return lambda: [self.session.exchange(content) for content in contents][-1]

    def _remember(self, texts: Sequence[str], vectors: Vectors) -> None:
        with open(self.table, "a") as opened:
            for text, vector in zip(texts, vectors, strict=True):
                opened.write(json.dumps([text, vector.tobytes().hex()]) + "\n")


@dataclass
class TxtaiServer(HttpProcess):
    def connect(self) -> TxtaiConnection:
        return TxtaiConnection(KeepAliveClient(self.port), self.folder / "vectors.jsonl")


@dataclass(frozen=True, slots=True)
class Txtai:
    environments: Path
    name: str = "txtai"

    def version(self) -> str:
        self._environment.install()
        return self._environment.version()

    def opened(self, folder: Path) -> AbstractContextManager[TxtaiServer]:
        (folder / "config.yml").write_text(_CONFIG.format(folder=folder))
        (folder / "vectors.jsonl").touch()
        variables = {
            "CONFIG": str(folder / "config.yml"),
            "BENCH_VECTORS": str(folder / "vectors.jsonl"),
        }
        return TxtaiServer(folder, uvicorn(self._environment.python, "txtai.api:app"), variables).running()

    @property
    def _environment(self) -> PeerEnvironment:
        return PeerEnvironment(self.environments / "txtai", ["txtai[api]"])
