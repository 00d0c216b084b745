"""Namespaces of any size in seconds, through the service's own code.

Embedding 50,000 chunks takes minutes, and what is measured does not depend on what the vectors say. So documents are
accepted by the service, their chunks' vectors are put where the service keeps the ones that it made before, and
its own worker finds them there ("reused"), publishes, and writes the checkpoint. The texts are composed, each
chunk's its own. **Stored vectors are synthetic** (unit, around CENTRES centres); queries are embedded for real.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.server import stop_on_sigterm
from domain import Vectors
from handlers import HANDLERS
from models import Chunk, Project
from runtime.opening import open_runtime
from runtime.parts import Runtime
from services.index import namespaces
from services.ingest.drafts import NewDoc, OwnChunk
from settings import Settings
from worker import Worker

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TENANT = "bench"
CHUNKS_PER_DOC = 20
DOCS_PER_BATCH = 100
CENTRES = 300
SPREAD = 0.8
NEVER = 1_000_000_000

_ADJECTIVES = "annual binding copper cracked digital early foreign heavy hidden joint local loose minor modern narrow"
_NOUNS = "audit bridge budget cable contract engine filter harbour invoice licence meter pump report sensor turbine"
_PLACES = "Bergen Cadiz Dakar Galway Hobart Izmir Kyoto Lagos Malmo Nantes Osaka Perth Quito Riga Split Turku Utrecht"
_VERBS = "approves blocks checks delays exceeds follows limits moves needs orders replaces supports tests warns"
_MONTHS = "January February March April May June July August September October November December"
_ENDS = ("before the board meets", "unless the insurer objects", "as the manual says", "and nobody was told why")


@dataclass(frozen=True, slots=True)
class Writer:
    """Sentences of ordinary words; one seed always writes the same."""

    random: random.Random

    @classmethod
    def seeded(cls, seed: int) -> Writer:
        return cls(random.Random(seed))

    def document(self, paragraphs: int) -> str:
        """Each paragraph becomes one chunk: it has 110 to 190 tokens, and CHUNK_TOKENS is 200."""
        return "\n\n".join(self.paragraph() for _ in range(paragraphs))

    def paragraph(self) -> str:
        return " ".join(self.sentence() for _ in range(8))

    def question(self) -> str:
        return f"Which {self._one(_ADJECTIVES)} {self._one(_NOUNS)} {self._one(_VERBS)} the {self._one(_NOUNS)}?"

    def sentence(self) -> str:
        who = f"The {self._one(_ADJECTIVES)} {self._one(_NOUNS)} of {self._one(_PLACES)}"
        what = f"{self._one(_VERBS)} {self.random.randint(2, 9999)} {self._one(_NOUNS)}s"
        return f"{who} {what} in {self._one(_MONTHS)} {self.random.choice(_ENDS)}."

    def _one(self, words: str) -> str:
        return self.random.choice(words.split())


@contextmanager
def scratch() -> Iterator[tuple[Path, Runtime]]:
    """A folder that goes away with everything in it, and a runtime on a database there, in this process."""
    stop_on_sigterm()
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with open_runtime(settings_in(folder)) as runtime:
            yield folder, runtime


def settings_in(folder: Path) -> Settings:
    """As shipped, but for the places and for rebuilds, which come only when they are asked for."""
    return Settings(
        database_url=f"sqlite:///{folder}/rag.db",
        index_dir=folder / "indices",
        embed_model_name=MODEL,
        min_free_disk_mb=0,
        rebuild_min_changes=NEVER,
        log_level="ERROR",
    )


def fill(runtime: Runtime, namespace: str, *, chunks: int, seed: int = 0) -> None:
    """*namespace* with *chunks* more live chunks in it, CHUNKS_PER_DOC a document, and a checkpoint of them all."""
    add(runtime, namespace, chunks=chunks, seed=seed)
    runtime.ingest.jobs.rebuild(TENANT, namespace, reembed=False, new_version=None)
    _work(runtime)


def add(runtime: Runtime, namespace: str, *, chunks: int, seed: int) -> None:
    """The same without the checkpoint: they are the tail."""
    writer = Writer.seeded(seed)
    sizes = [min(CHUNKS_PER_DOC, chunks - start) for start in range(0, chunks, CHUNKS_PER_DOC)]
    docs = [_doc(namespace, f"{seed}-{number}", writer.document(size)) for number, size in enumerate(sizes)]
    _publish(runtime, namespace, docs, seed=seed)


def fill_with(runtime: Runtime, namespace: str, texts: Sequence[str], *, is_embedded: bool = False) -> None:
    """Like fill(), but each chunk is one of *texts*. With *is_embedded* the worker makes their vectors."""
    chunks = [OwnChunk(text) for text in texts]
    groups = [tuple(chunks[start : start + CHUNKS_PER_DOC]) for start in range(0, len(chunks), CHUNKS_PER_DOC)]
    docs = [replace(_doc(namespace, f"0-{number}", ""), chunks=group) for number, group in enumerate(groups)]
    _publish(runtime, namespace, docs, seed=0, is_embedded=is_embedded)
    runtime.ingest.jobs.rebuild(TENANT, namespace, reembed=False, new_version=None)
    _work(runtime)


def _publish(runtime: Runtime, namespace: str, docs: list[NewDoc], *, seed: int, is_embedded: bool = False) -> None:
    for start in range(0, len(docs), DOCS_PER_BATCH):
        runtime.ingest.documents.accept(docs[start : start + DOCS_PER_BATCH])
        if not is_embedded:
            _give_vectors(runtime, namespace, np.random.default_rng((seed, start)))
        _work(runtime)


def bury(runtime: Runtime, namespace: str, *, chunks: int, seed: int = 0) -> None:
    """Delete the first documents of fill(), so many that *chunks* are dead in the checkpoint."""
    for number in range(chunks // CHUNKS_PER_DOC):
        runtime.ingest.documents.delete(TENANT, namespace, f"{seed}-{number}")


def live_chunks(runtime: Runtime, namespace: str) -> int:
    return project(runtime, namespace).live_chunks


def project(runtime: Runtime, namespace: str) -> Project:
    with runtime.database.read() as session:
        return namespaces.require(session, TENANT, namespace)


def number_of(doc_id: str) -> int:
    """The how many-th of its seed's documents it is."""
    return int(doc_id.rpartition("-")[2])


def _doc(namespace: str, doc_id: str, text: str) -> NewDoc:
    metadata = {"source": "bench", "language": "en", "tags": ["synthetic", doc_id], "percent": number_of(doc_id) % 100}
    return NewDoc(TENANT, namespace, doc_id, text, metadata, title=f"Report {doc_id}")


def _work(runtime: Runtime) -> None:
    worker = Worker(runtime, HANDLERS, name="bench")
    while worker.run_one():
        pass


def _give_vectors(runtime: Runtime, namespace: str, rng: np.random.Generator) -> None:
    """Vectors for all that waits, so that the worker has nothing to embed."""
    version = runtime.index.embedding.version
    with runtime.database.write() as session:
        place = namespaces.require(session, TENANT, namespace)
        waiting = _waiting(session, place)
        vectors = _vectors(len(waiting), runtime.index.embedding.embedder(version).dimension, rng)
        stored = {key: row.tobytes() for key, row in zip(waiting, vectors, strict=True)}
        runtime.index.embedding.store(session, place.team_id, version, stored)


def _waiting(session: Session, place: Project) -> list[bytes]:
    query = select(Chunk.embed_hash).where(Chunk.team_id == place.team_id, Chunk.project_id == place.id)
    return list(session.scalars(query.where(Chunk.live_seq.is_(None)).order_by(Chunk.faiss_id)))


def _vectors(count: int, dimension: int, rng: np.random.Generator) -> Vectors:
    centres = np.random.default_rng(0).standard_normal((CENTRES, dimension), np.float32)
    chosen = centres[rng.integers(CENTRES, size=count)]
    vectors = chosen + SPREAD * rng.standard_normal((count, dimension), np.float32)
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f4")
    return unit
