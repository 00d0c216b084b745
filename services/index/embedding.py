"""Which model makes the vectors of which version, and the vectors themselves: made once, kept, found again."""

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

from database.batching import batched
from database.dialects import insert_or_ignore
from database.engine import Database
from domain import Vectors
from engines.embedders.base import Embedder
from engines.embedders.opening import EmbedderConfig, open_embedder
from errors import DatabaseUnavailable, Invalid, ModelUnavailable, ServiceError, VersionUnavailable
from models import Embedding, EmbeddingVersion
from services.index.namespaces import EXTERNAL

log = logging.getLogger(__name__)

HASHES_PER_QUERY = 500
RETRY_SECONDS = 10.0
CLOSING_SECONDS = 5.0
CONFIRMED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a version's name stands for. Two that are equal make the same vectors."""

    model: str
    is_remote: bool
    query_prompt: str | None
    document_prompt: str | None
    dimension: int

    @classmethod
    def of_row(cls, row: EmbeddingVersion) -> Meaning:
        return cls(row.model, row.is_remote, row.query_prompt, row.document_prompt, row.dimension)

    @classmethod
    def of_config(cls, config: EmbedderConfig, dimension: int) -> Meaning:
        is_remote = config.backend == "remote"
        return cls(config.model_name, is_remote, config.query_prompt, config.document_prompt, dimension)


class EmbeddingService:
    """Opens each version's model once per process, when it is first needed.

    An operator may free a name, and give it to another model. A process that knew it before asks the database once a
    second what the name stands for, and refuses to use it for anything else until it is started again.
    """

    def __init__(self, database: Database, config: EmbedderConfig, version: str) -> None:
        self.database = database
        self.config = config
        self.version = version
        self.problem: str | None = None
        self._open: dict[str, Embedder] = {}
        self._meanings: dict[str, Meaning] = {}
        self._confirmed_at: dict[str, float] = {}
        self._external: dict[str, int | None] = {}
        self._failed: dict[str, tuple[float, ServiceError]] = {}
        self._opening = Lock()
        self._loader: Thread | None = None

    @property
    def is_ready(self) -> bool:
        return self.version in self._open

    def start_loading(self, *, warm_up: Callable[[Embedder], object]) -> None:
        """Load the process's own model in the background, so that the first request finds it there.

        *warm_up* is the first use that the process will make of it; a remote model is not asked.
        """
        # Not a daemon: a thread that ends with its interpreter, inside of a library's C++, aborts the process.
        self._loader = Thread(target=self._load_quietly, args=(warm_up,), name="model-loader")
        self._loader.start()

    def close(self) -> None:
        """Let a model that is still being loaded come to its end; the process waits longer for it than this does."""
        if self._loader is not None:
            self._loader.join(CLOSING_SECONDS)
            if self._loader.is_alive():
                log.warning("the model is still being loaded: the process ends when that has come to its end")

    def embedder(self, version: str) -> Embedder:
        """The model behind a version; it is loaded if it was not.

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

    def reader(self, version: str) -> Embedder:
        """The model to compare texts of a namespace by: its own, or this process's where its vectors come from outside.

        Raises like embedder().
        """
        return self.embedder(self.version if self.external_dimension(version) is not None else version)

    def has_version(self, version: str) -> bool:
        """Whether a model stands behind the name. Vectors from outside have a name that only their tenant knows."""
        with self.database.read() as session:
            row = session.get(EmbeddingVersion, version)
        return row is not None and not row.is_external

    def names(self, *, limit: int) -> list[str]:
        """The versions that a model stands behind, the newest first."""
        query = select(EmbeddingVersion.name).where(EmbeddingVersion.is_external.is_(False))
        with self.database.read() as session:
            return list(session.scalars(query.order_by(EmbeddingVersion.created_at.desc()).limit(limit)))

    def ensure_registered(self, version: str) -> None:
        """Give a name that is new to the process's own model, for good."""
        if not self.has_version(version):
            self._register(version, self.embedder(self.version))

    def ensure_external(self, version: str, dimension: int) -> None:
        """Let a name stand for vectors of that dimension that come from outside."""
        values = {"name": version, "model": "", "is_remote": False, "is_external": True, "dimension": dimension}
        with self.database.write() as session:
            session.execute(insert_or_ignore(session, EmbeddingVersion).values(**values))

    def external_dimension(self, version: str) -> int | None:
        """Of the vectors that a version stands for, if they come from outside; None: a model makes them."""
        if version not in self._external:
            with self.database.read() as session:
                row = session.get(EmbeddingVersion, version)
            if row is None:
                return None
            self._external[version] = row.dimension if row.is_external else None
        return self._external[version]

    def missing(self, session: Session, team_id: int, version: str, hashes: Iterable[bytes]) -> set[bytes]:
        """Those of *hashes* that have no vector yet."""
        wanted = list(dict.fromkeys(hashes))
        known: set[bytes] = set()
        for some in batched(wanted, HASHES_PER_QUERY):
            query = select(Embedding.embed_hash).where(
                Embedding.team_id == team_id, Embedding.embedding_version == version, Embedding.embed_hash.in_(some)
            )
            known.update(session.scalars(query))
        return set(wanted) - known

    def embed(self, version: str, texts: Mapping[bytes, str]) -> dict[bytes, bytes]:
        """The vectors of *texts*, by the same hashes, as they are stored: little-endian float32."""
        if not texts:
            return {}
        vectors = self.embedder(version).embed_documents(list(texts.values()))
        return {key: row.astype("<f4").tobytes() for key, row in zip(texts, vectors, strict=True)}

    def of_questions(self, version: str, dimension: int, asked: Sequence[str | bytes]) -> Vectors:
        """A unit vector for each question, which is a text, or a vector as own_chunks.unit() gives it."""
        if any(isinstance(each, str) for each in asked) and self.external_dimension(version) is not None:
            raise Invalid(
                "The vectors of this namespace come from outside, so no model makes one of a text: search for its "
                f"words with mode keyword, or send a vector of {dimension} numbers (POST /v1/search), alone or with "
                "query beside it.",
                param="query",
            )
        vectors = np.empty((len(asked), dimension), np.float32)
        for number, each in enumerate(asked):
            if isinstance(each, bytes):
                if len(each) != vectors[number].nbytes:
                    told = f"The vectors of this namespace have {dimension} numbers, not {len(each) // 4}."
                    raise Invalid(told, param="vector")
                vectors[number] = np.frombuffer(each, "<f4")
        texts = {number: each for number, each in enumerate(asked) if isinstance(each, str)}
        if texts:
            vectors[list(texts)] = self.embedder(version).embed_queries(list(texts.values()))
        return vectors

    def store(self, session: Session, team_id: int, version: str, vectors: Mapping[bytes, bytes]) -> None:
        if vectors:
            rows = [
                {"team_id": team_id, "embedding_version": version, "embed_hash": key, "vector": vector}
                for key, vector in sorted(vectors.items())  # in one order, lest two wait for each other
            ]
            session.execute(insert_or_ignore(session, Embedding), rows)

    def _confirm(self, version: str, embedder: Embedder) -> None:
        """Raises VersionUnavailable where the name stands for something else by now."""
        now = time.monotonic()
        if now - self._confirmed_at.get(version, -math.inf) < CONFIRMED_SECONDS:
            return
        with self.database.read() as session:
            row = session.get(EmbeddingVersion, version)
        meaning = None if row is None else Meaning.of_row(row)
        if meaning is None and version == self.version:
            self._register(version, embedder)  # it was freed, and nobody else took it
        elif meaning is None or meaning != self._meanings.setdefault(version, meaning):
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
        """A model that could not be loaded is not tried again at once: whoever asks in vain should not wait for it."""
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
            embedder = open_embedder(self.config)
            self._register(self.version, embedder)
        except DatabaseUnavailable:
            raise  # nothing is wrong with the model: the next call finds it
        except Exception as error:
            self.problem = str(error)
            raise
        self.problem = None
        return embedder

    def _load_other(self, version: str) -> Embedder:
        with self.database.read() as session:
            row = session.get(EmbeddingVersion, version)
        if row is None or row.is_external:
            told = "has no model: its vectors come from outside" if row else "does not exist"
            raise VersionUnavailable(f"Embedding version {version!r} {told}.", param="embedding_version")
        self._meanings[version] = Meaning.of_row(row)
        if self._meanings[version] == Meaning.of_config(self.config, row.dimension) and self.is_ready:
            return self._open[self.version]
        try:
            return open_embedder(_config_of(row, self.config))
        except ModelUnavailable as error:
            raise VersionUnavailable(
                f"This namespace is indexed under embedding version {version!r} (model {row.model!r}), which this "
                f"process cannot load; it runs {self.version!r} (model {self.config.model_name!r}). Make that model "
                f"available, or rebuild the namespace with reembed=true and new_embedding_version={self.version!r}. "
                f"Why it could not be loaded: {error}",
                param="embedding_version",
            ) from error

    def _register(self, version: str, embedder: Embedder) -> None:
        """Bind the name to the model, once and for all tenants."""
        config, dimension = self.config, embedder.dimension
        with self.database.read() as session:
            row = session.get(EmbeddingVersion, version)
        if row is None:
            if version.startswith(EXTERNAL):
                raise VersionUnavailable(
                    f"EMBEDDING_VERSION {version!r}: names that begin with {EXTERNAL} are for vectors from outside.",
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
        self._meanings[version] = Meaning.of_config(config, dimension)
        if Meaning.of_row(row) != self._meanings[version]:
            raise VersionUnavailable(
                f"EMBEDDING_VERSION {version!r} stands for model {row.model!r} ({row.dimension} dimensions, its own "
                f"prompts) in this database, but this process is set to {config.model_name!r} ({dimension}). Give the "
                "new model another EMBEDDING_VERSION, or set EMBED_MODEL_NAME and the prompts back. A name that no "
                "namespace uses can be freed: manage.py free-version.",
                param="embedding_version",
            )


def _config_of(row: EmbeddingVersion, own: EmbedderConfig) -> EmbedderConfig:
    backend = "remote" if row.is_remote else ("auto" if own.backend == "remote" else own.backend)
    return replace(
        own,
        model_name=row.model,
        backend=backend,
        query_prompt=row.query_prompt,
        document_prompt=row.document_prompt,
    )
