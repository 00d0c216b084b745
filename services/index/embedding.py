"""Owns the models behind the embedding versions, and their vectors: computed once, stored, reused."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock, Thread

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

import tracing
from database.batching import batched
from database.dialects import insert_or_ignore
from database.engine import Database
from database.prepared import PreparedStatement, inserted
from domain import Vectors
from engines.embedders.base import Embedder, EmbedderConfig, OpenEmbedder
from errors import DatabaseUnavailable, Invalid, ModelUnavailable, ServiceError, VersionUnavailable
from metrics import embedding
from models import Embedding, EmbeddingVersion, utc_now
from services.index.installation import ensure_chosen, warn_of_difference
from services.index.namespaces import EXTERNAL
from services.index.query_vectors import QueryVectors

log = logging.getLogger(__name__)

HASHES_PER_QUERY = 500
RETRY_SECONDS = 10.0
CLOSING_SECONDS, CONFIRMED_SECONDS = 5.0, 1.0


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a version's name stands for. Equal specs compute equal vectors."""

    model: str
    is_remote: bool
    query_prompt: str | None
    document_prompt: str | None
    dimension: int

    @classmethod
    def of_row(cls, row: EmbeddingVersion) -> ModelSpec:
        return cls(row.model, row.is_remote, row.query_prompt, row.document_prompt, row.dimension)

    @classmethod
    def of_config(cls, config: EmbedderConfig, dimension: int) -> ModelSpec:
        is_remote = config.backend == "remote"
        return cls(config.model_name, is_remote, config.query_prompt, config.document_prompt, dimension)


class EmbeddingService:
    """Loads each version's model once per process, when it is first needed.

    An operator may free a name and give it to another model. So a process checks at most once a second what the name
    stands for in the database, and refuses to use a name that changed until the process is restarted.
    """

    def __init__(self, database: Database, open_embedder: OpenEmbedder, config: EmbedderConfig, version: str) -> None:
        self.database = database
        self.open_embedder = open_embedder
        self.config = config
        self.version = version
        self.problem: str | None = None
        self._open: dict[str, Embedder] = {}
        self._specs: dict[str, ModelSpec] = {}
        self._confirmed_at: dict[str, float] = {}
        self._external: dict[str, int | None] = {}
        self._failed: dict[str, tuple[float, ServiceError]] = {}
        self._query_vectors = QueryVectors()
        self._opening = Lock()
        self._loader: Thread | None = None

    @property
    def is_ready(self) -> bool:
        return self.version in self._open

    def start_loading(self, *, warm_up: Callable[[Embedder], object]) -> None:
        """Load the process's own model in the background, so that the first request need not wait for it.

        *warm_up* is called with the model, unless it is remote.
        """
        # Not a daemon: a thread inside a library's C++ when the interpreter ends aborts the process.
        self._loader = Thread(target=self._load_quietly, args=(warm_up,), name="model-loader")
        self._loader.start()

    def close(self) -> None:
        """Wait for a model that is still loading, for a limited time; the process itself waits until it is loaded."""
        if self._loader is not None:
            self._loader.join(CLOSING_SECONDS)
            if self._loader.is_alive():
                log.warning("the model is still loading: the process ends when it is loaded")

    def embedder(self, version: str) -> Embedder:
        """Returns the model behind a version, loading it if necessary.

        Raises ModelUnavailable for the process's own version, VersionUnavailable for another one.
        """
        opened = self._open.get(version)
        if opened is None:
            with self._opening:
                if version not in self._open:
                    self._open[version] = self._load(version)
                opened = self._open[version]
        self._confirm(version, opened)
        return opened

    def loaded(self, version: str) -> Embedder | None:
        """Returns the model behind a version if this process has loaded it."""
        return self._open.get(version)

    def comparison_embedder(self, version: str) -> Embedder:
        """Returns the model for comparing texts of a namespace: its own, or this process's if its vectors are external.

        Raises like embedder().
        """
        return self.embedder(self.version if self.external_dimension(version) is not None else version)

    def has_version(self, version: str) -> bool:
        """Returns whether the name stands for a model. Names for external vectors are known to their tenant only."""
        with self.database.read() as session:
            row = session.get(EmbeddingVersion, version)
        return row is not None and not row.is_external

    def names(self, *, limit: int) -> list[str]:
        """Returns the versions that stand for a model, newest first."""
        query = select(EmbeddingVersion.name).where(EmbeddingVersion.is_external.is_(False))
        with self.database.read() as session:
            return list(session.scalars(query.order_by(EmbeddingVersion.created_at.desc()).limit(limit)))

    def ensure_registered(self, version: str) -> None:
        """Bind a new name to the process's own model, permanently."""
        if not self.has_version(version):
            self._register(version, self.embedder(self.version))

    def ensure_external(self, version: str, dimension: int) -> None:
        """Bind a new name to external vectors of that dimension."""
        values = {"name": version, "model": "", "is_remote": False, "is_external": True, "dimension": dimension}
        with self.database.write() as session:
            session.execute(insert_or_ignore(session, EmbeddingVersion).values(**values))

    def external_dimension(self, version: str) -> int | None:
        """Returns the dimension of a version's external vectors; None if a model computes its vectors."""
        if version not in self._external:
            with self.database.read() as session:
                row = session.get(EmbeddingVersion, version)
            if row is None:
                return None
            self._external[version] = row.dimension if row.is_external else None
        return self._external[version]

    def missing(self, session: Session, team_id: int, version: str, hashes: Iterable[bytes]) -> set[bytes]:
        """Returns those of *hashes* that have no vector yet."""
        unique = list(dict.fromkeys(hashes))
        stored: set[bytes] = set()
        for batch in batched(unique, HASHES_PER_QUERY):
            query = select(Embedding.embed_hash).where(
                Embedding.team_id == team_id, Embedding.embedding_version == version, Embedding.embed_hash.in_(batch)
            )
            stored.update(session.scalars(query))
        return set(unique) - stored

    def embed(self, version: str, texts: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """Returns the vectors of *texts*, by the same hashes, as they are stored: little-endian float32."""
        if not texts:
            return {}
        embed = self.embedder(version).embed_documents
        with embedding("documents"), tracing.embedding(len(texts), version):
            vectors = embed(list(texts.values()))
        return {key: row.astype("<f4").tobytes() for key, row in zip(texts, vectors, strict=True)}

    def embed_queries(self, version: str, dimension: int, queries: Sequence[str | bytes]) -> Vectors:
        """Returns a unit vector per query, which is a text, or a vector as own_chunks.unit_vector() returns it."""
        if any(isinstance(query, str) for query in queries) and self.external_dimension(version) is not None:
            raise Invalid(
                "The vectors of this namespace are external, so no model can embed a text: search for its words with "
                f"mode keyword, or send a vector of {dimension} numbers (POST /v1/search), alone or with "
                "query beside it.",
                param="query",
            )
        vectors = np.empty((len(queries), dimension), np.float32)
        for number, query in enumerate(queries):
            if isinstance(query, bytes):
                if len(query) != vectors[number].nbytes:
                    message = f"The vectors of this namespace have {dimension} numbers, not {len(query) // 4}."
                    raise Invalid(message, param="vector")
                vectors[number] = np.frombuffer(query, "<f4")
        texts = {number: query for number, query in enumerate(queries) if isinstance(query, str)}
        if texts:
            embed = self.embedder(version).embed_queries
            vectors[list(texts)] = self._query_vectors.of(version, list(texts.values()), embed)
        return vectors

    def store(self, session: Session, team_id: int, version: str, vectors: Mapping[bytes, bytes]) -> None:
        same = {"team_id": team_id, "embedding_version": version, "created_at": utc_now()}
        in_order = sorted(vectors.items())  # a fixed one, lest two transactions deadlock
        _STORE.run_many(session, [{**same, "embed_hash": key, "vector": vector} for key, vector in in_order])

    def _confirm(self, version: str, embedder: Embedder) -> None:
        """Raises VersionUnavailable if the name stands for something else by now."""
        now = time.monotonic()
        if now - self._confirmed_at.get(version, -math.inf) < CONFIRMED_SECONDS:
            return
        with self.database.read() as session:
            row = session.get(EmbeddingVersion, version)
        spec = None if row is None else ModelSpec.of_row(row)
        if spec is None and version == self.version:
            self._register(version, embedder)  # it was freed and not bound again
        elif spec is None or spec != self._specs.setdefault(version, spec):
            raise VersionUnavailable(
                f"Embedding version {version!r} was freed, or stands for another model since then: start this process "
                "again before it uses that name.",
                param="embedding_version",
            )
        self._confirmed_at[version] = now

    def _load_quietly(self, warm_up: Callable[[Embedder], object]) -> None:
        try:
            embedder = self.embedder(self.version)
            if self.config.backend != "remote":
                warm_up(embedder)
        except ServiceError as error:
            log.error("%s", error)
        except Exception:
            log.exception("could not load the embedding model")

    def _load(self, version: str) -> Embedder:
        """Load the model. After a failure, calls fail at once for RETRY_SECONDS instead of trying again."""
        failed_at, error = self._failed.get(version, (-math.inf, None))
        if error is not None and time.monotonic() - failed_at < RETRY_SECONDS:
            raise error
        try:
            return self._load_own() if version == self.version else self._load_other(version)
        except (ModelUnavailable, VersionUnavailable) as error:
            self._failed[version] = (time.monotonic(), error)
            raise

    def _load_own(self) -> Embedder:
        try:
            embedder = self.open_embedder(self.config)
            self._register(self.version, embedder)
            warn_of_difference(ensure_chosen(self.database, self.version), self.version)
        except DatabaseUnavailable:
            raise  # the model is fine: the next call loads it
        except Exception as error:
            self.problem = str(error)
            raise
        self.problem = None
        return embedder

    def _load_other(self, version: str) -> Embedder:
        with self.database.read() as session:
            row = session.get(EmbeddingVersion, version)
        if row is None or row.is_external:
            problem = "has no model: its vectors are external" if row else "does not exist"
            raise VersionUnavailable(f"Embedding version {version!r} {problem}.", param="embedding_version")
        self._specs[version] = ModelSpec.of_row(row)
        if self._specs[version] == ModelSpec.of_config(self.config, row.dimension) and self.is_ready:
            return self._open[self.version]
        try:
            return self.open_embedder(_config_of(row, self.config))
        except ModelUnavailable as error:
            raise VersionUnavailable(
                f"This namespace is indexed under embedding version {version!r} (model {row.model!r}), which this "
                f"process cannot load; it runs {self.version!r} (model {self.config.model_name!r}). Make that model "
                f"available, or rebuild the namespace with reembed=true and new_embedding_version={self.version!r}. "
                f"Why it could not be loaded: {error}",
                param="embedding_version",
            ) from error

    def _register(self, version: str, embedder: Embedder) -> None:
        """Bind the name to the model, permanently and for all tenants."""
        config, dimension = self.config, embedder.dimension
        with self.database.read() as session:
            row = session.get(EmbeddingVersion, version)
        if row is None:
            if version.startswith(EXTERNAL):
                raise VersionUnavailable(
                    f"EMBEDDING_VERSION {version!r}: names that begin with {EXTERNAL} are for external vectors.",
                    param="embedding_version",
                )
            values = {
                "name": version,
                "model": config.model_name,
                "is_remote": config.backend == "remote",
                "query_prompt": config.query_prompt,
                "document_prompt": config.document_prompt,
                "dimension": dimension,
            }
            with self.database.write() as session:
                session.execute(insert_or_ignore(session, EmbeddingVersion).values(**values))
                row = session.get_one(EmbeddingVersion, version)
        self._specs[version] = ModelSpec.of_config(config, dimension)
        if ModelSpec.of_row(row) != self._specs[version]:
            raise VersionUnavailable(
                f"EMBEDDING_VERSION {version!r} stands for model {row.model!r} ({row.dimension} dimensions, its own "
                f"prompts) in this database, but this process is set to {config.model_name!r} ({dimension}). Give the "
                "new model another EMBEDDING_VERSION, or set EMBED_MODEL_NAME and the prompts back. A name that no "
                "namespace uses can be freed: manage.py free-version.",
                param="embedding_version",
            )


_STORE = PreparedStatement(inserted(Embedding, keeping=True))


def _config_of(row: EmbeddingVersion, own: EmbedderConfig) -> EmbedderConfig:
    backend = "remote" if row.is_remote else ("auto" if own.backend == "remote" else own.backend)
    return replace(
        own,
        model_name=row.model,
        backend=backend,
        query_prompt=row.query_prompt,
        document_prompt=row.document_prompt,
    )
