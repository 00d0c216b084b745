"""The least that a service of this kind costs: FastAPI, orjson, a FAISS graph and SQLite, and not one promise.

No tenants, words, filters, revisions or jobs; one writer; what is deleted stays in the graph until the next start.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

DATA = Path(os.environ.get("BENCH_DATA", "."))
DIMENSION = 384
SPARE = 5


class FloorStore:
    """Rows in SQLite, and a graph of their vectors by row number."""

    def __init__(self) -> None:
        self.rows = sqlite3.connect(DATA / "floor.db", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self.rows.execute(f"PRAGMA {pragma}").fetchall()
        self.rows.execute(
            "CREATE TABLE IF NOT EXISTS chunks (n INTEGER PRIMARY KEY, id TEXT UNIQUE, text TEXT, vector BLOB)"
        )
        saved = DATA / "floor.faiss"
        self.graph = faiss.read_index(str(saved)) if saved.exists() else _graph()

    def save(self) -> None:
        faiss.write_index(self.graph, str(DATA / "floor.faiss"))

    def upsert(self, chunks: list[dict[str, Any]]) -> None:
        vectors = np.array([chunk["vector"] for chunk in chunks], np.float32)
        first = self.graph.ntotal
        rows = [
            (first + number, chunk["id"], chunk["text"], vector.tobytes())
            for number, (chunk, vector) in enumerate(zip(chunks, vectors, strict=True))
        ]
        self.rows.execute("BEGIN IMMEDIATE")
        self.rows.executemany("INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?)", rows)
        self.rows.execute("COMMIT")
        self.graph.add(vectors)

    def delete(self, ids: list[str]) -> None:
        self.rows.executemany("DELETE FROM chunks WHERE id = ?", [(name,) for name in ids])

    def search(self, vector: list[float], top_k: int) -> list[dict[str, Any]]:
        scores, numbers = self.graph.search(np.array([vector], np.float32), top_k + SPARE)
        query = f"SELECT n, id, text FROM chunks WHERE n IN ({','.join(map(str, numbers[0].tolist()))})"
        rows = {n: (name, text) for n, name, text in self.rows.execute(query)}
        ranked = zip(scores[0].tolist(), numbers[0].tolist(), strict=True)
        hits = [{"id": rows[n][0], "text": rows[n][1], "score": score} for score, n in ranked if n in rows]
        return hits[:top_k]


def _graph() -> Any:
    graph = faiss.IndexHNSWFlat(DIMENSION, 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 80
    graph.hnsw.efSearch = 100
    return graph


@asynccontextmanager
async def _lifespan(application: FastAPI) -> AsyncIterator[None]:
    application.state.store = FloorStore()
    yield
    application.state.store.save()


app = FastAPI(lifespan=_lifespan)


@app.post("/upsert")
async def upsert(request: Request) -> Response:
    app.state.store.upsert(orjson.loads(await request.body()))
    return Response(b"{}", media_type="application/json")


@app.post("/delete")
async def delete(request: Request) -> Response:
    app.state.store.delete(orjson.loads(await request.body()))
    return Response(b"{}", media_type="application/json")


@app.post("/search")
async def search(request: Request) -> Response:
    body = orjson.loads(await request.body())
    hits = app.state.store.search(body["vector"], body["top_k"])
    return Response(orjson.dumps({"chunks": hits}), media_type="application/json")
