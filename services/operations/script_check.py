"""Finds namespaces whose texts are in a script that their model cannot read: it samples them, a few at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Lock

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.engine import Database
from engines.embedders.base import Embedder
from models import Chunk, Project, Team
from services.index.embedding import EmbeddingService

PAUSE_SECONDS = 60.0
NAMESPACES = 1000

_PER_CALL = 5
_PLACES = 8
_CHARS = 1000
_MAX_SHARE = 0.5
_REMEDY = "EMBED_MODEL_NAME=intfloat/multilingual-e5-small"


@dataclass(frozen=True, slots=True)
class _Sample:
    """*chunks* is how many the namespace had when it was sampled."""

    version: str
    chunks: int
    share: float

    def is_fresh(self, project: Project) -> bool:
        return self.version == project.embedding_version and self.chunks <= project.live_chunks < 2 * self.chunks + 1


@dataclass
class ScriptCheck:
    """Remembers what it has seen. A namespace is sampled again when it has doubled, shrunk or changed its model."""

    database: Database
    embedding: EmbeddingService
    _samples: dict[tuple[int, int], _Sample] = field(default_factory=dict)
    _warnings: list[str] = field(default_factory=list)
    _looked_at: float = -PAUSE_SECONDS
    _lock: Lock = field(default_factory=Lock)

    def recent_warnings(self) -> list[str]:
        """Returns what is known; samples five more namespaces at most, once a minute: some milliseconds each."""
        with self._lock:
            if time.monotonic() - self._looked_at >= PAUSE_SECONDS:
                self._warnings = self._look(_PER_CALL)
                self._looked_at = time.monotonic()
            return self._warnings

    def all_warnings(self) -> list[str]:
        """Samples the largest NAMESPACES whose model this process has loaded."""
        with self._lock:
            return self._look(NAMESPACES)

    def _look(self, most: int) -> list[str]:
        query = (
            select(Team.name, Project)
            .join(Project, Project.team_id == Team.id)
            .where(Project.live_chunks > 0, Project.mirror_of.is_(None))
        )
        warnings = []
        with self.database.read() as session:
            for team, project in session.execute(query.order_by(Project.live_chunks.desc()).limit(NAMESPACES)):
                sample = self._samples.get((project.team_id, project.id))
                model = self.embedding.loaded(project.embedding_version)
                if most and model and not (sample and sample.is_fresh(project)):
                    most -= 1
                    sample = _sampled(session, project, model)
                    self._samples[project.team_id, project.id] = sample
                if sample and sample.version == project.embedding_version and sample.share > _MAX_SHARE:
                    warnings.append(_warning(f"{team}/{project.name}", sample))
        return warnings


def _sampled(session: Session, project: Project, model: Embedder) -> _Sample:
    """Reads chunks at places spread evenly over their numbers: as many look-ups by primary key."""
    places = [project.next_faiss_id * place // _PLACES for place in range(_PLACES)]
    texts = [text for text in dict.fromkeys(_text_at(session, project, place) for place in places) if text]
    broken = sum(len(text) * (1 - model.fitness(text).readable) for text in texts)
    share = broken / max(sum(map(len, texts)), 1)
    return _Sample(project.embedding_version, project.live_chunks, share)


def _text_at(session: Session, project: Project, number: int) -> str:
    """Returns the beginning of the first live chunk from *number* on; dead ones are not looked through for long."""
    query = select(Chunk.text, Chunk.live_seq, Chunk.dead_seq).where(
        Chunk.team_id == project.team_id, Chunk.project_id == project.id, Chunk.faiss_id >= number
    )
    for text, live_seq, dead_seq in session.execute(query.order_by(Chunk.faiss_id).limit(_PLACES)):
        if live_seq is not None and dead_seq is None:
            return str(text[:_CHARS])
    return ""


def _warning(namespace: str, sample: _Sample) -> str:
    return (
        f"{sample.share:.0%} of the letters in a sample of {namespace} reach the model of embedding version"
        f" {sample.version!r} as unknowns or single letters: search by meaning finds little there, mode=keyword is not"
        f" affected. Run a model that reads the script, such as {_REMEDY} (with a new EMBEDDING_VERSION if one is set),"
        " and rebuild the namespace with reembed=true: docs/jobs.md#change-the-embedding-model."
    )
