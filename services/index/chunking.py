"""How the documents of an index version are cut, and the hidden namespace that has them so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from domain import MIRROR_MARK, Json, Mirror
from errors import Invalid
from models import EmbeddingVersion, IndexRow, Project, Team, utc_now
from text.chunkers.base import STRATEGY_NAMES

FEWEST_TOKENS, MOST_TOKENS, MOST_OVERLAP = 16, 8192, 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChunking:
    """The options of an upload or an upsert, for all documents. *chunk_tokens* None: the service's."""

    chunk_strategy: str = "default"
    chunk_overlap: int = 0
    enrich_context: bool = False
    chunk_tokens: int | None = None

    def checked(self, chunk_tokens: int) -> Json:
        """Returns it as it is stored, so that every process cuts alike whatever its settings. Raises Invalid."""
        if self.chunk_strategy not in STRATEGY_NAMES:
            message = f"There is no strategy {self.chunk_strategy!r}; there are {', '.join(STRATEGY_NAMES)}."
            raise Invalid(message, param="chunking.chunk_strategy")
        tokens = chunk_tokens if self.chunk_tokens is None else self.chunk_tokens
        if not FEWEST_TOKENS <= tokens <= MOST_TOKENS:
            message = f"chunk_tokens is from {FEWEST_TOKENS} to {MOST_TOKENS}, not {tokens}."
            raise Invalid(message, param="chunking.chunk_tokens")
        if not 0 <= self.chunk_overlap <= MOST_OVERLAP:
            message = f"chunk_overlap is from 0 to {MOST_OVERLAP}, not {self.chunk_overlap}."
            raise Invalid(message, param="chunking.chunk_overlap")
        return {**asdict(self), "chunk_tokens": tokens}


def read_chunking(lines: Iterable[str]) -> NewChunking:
    """Reads ``chunk_tokens=128`` and the like. Raises Invalid."""
    options: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition("=")
        try:
            options[name.strip()] = _READERS[name.strip()](value.strip())
        except (KeyError, ValueError) as error:
            names = ", ".join(_READERS)
            raise Invalid(f"{line!r} is no option of a chunking: there are {names}.", param="chunking") from error
    return NewChunking(**options)


def _flag(value: str) -> bool:
    return {"true": True, "false": False}[value.lower()]


_READERS: dict[str, Callable[[str], Any]] = {
    "chunk_tokens": int,
    "chunk_strategy": str,
    "chunk_overlap": int,
    "enrich_context": _flag,
}


def add_mirror(session: Session, namespace: Project, version: str, chunking: Json) -> int:
    """Create an empty mirror. The rows of the team and of *namespace* are locked. Returns its id.

    No request reaches it by its name, which no namespace can have: it begins with a control character.
    """
    numbering = update(Team).where(Team.id == namespace.team_id).values(next_project_id=Team.next_project_id + 1)
    mirror_id = int(session.execute(numbering.returning(Team.next_project_id)).scalar_one()) - 1
    key = {"team_id": namespace.team_id, "embedding_version": version}
    name = f"{MIRROR_MARK}{namespace.id} {mirror_id}"
    session.add(Project(**key, id=mirror_id, name=name, mirror_of=namespace.id))
    session.flush()
    dimension = session.get_one(EmbeddingVersion, version).dimension
    session.add(IndexRow(**key, project_id=mirror_id, dimension=dimension))
    namespace.mirrors = [*(namespace.mirrors or ()), asdict(Mirror(mirror_id, version, chunking))]
    session.flush()
    return mirror_id


def drop_mirror(session: Session, namespace: Project, mirror_id: int) -> None:
    """From this commit on nothing is written to it; the purge removes what it holds, step by step."""
    namespace.mirrors = [each for each in namespace.mirrors or () if each["id"] != mirror_id] or None
    mirror = session.get_one(Project, (namespace.team_id, mirror_id))
    mirror.erased_at = utc_now()
