"""Which embedding version a request means, and who may register one: its name stands for one model, for every team."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from sqlalchemy import select

from database.dialects import insert_or_ignore
from database.engine import Database
from domain import Principal, Scope
from errors import Forbidden, NotFound
from models import EmbeddingVersion
from services.index.embedding import EmbeddingService, ModelSpec

MAX_VERSIONS_LISTED = 20
LONGEST_PROMPT = 1000


@dataclass(frozen=True, slots=True)
class NewPrompts:
    """What a model reads before a query, and before a text. None: the model's own; empty: nothing."""

    query: str | None = None
    document: str | None = None


@dataclass(frozen=True, slots=True)
class VersionNames:
    database: Database
    embedding: EmbeddingService

    def resolve(self, version: str | None, prompts: NewPrompts | None, *, serving: str, by: Principal) -> str:
        """Returns the embedding version's name, which is registered. Raises Forbidden."""
        if version is not None:
            self.require_may_use(version, by, param="embedding_version")
            self.embedding.ensure_registered(version)
        base = version or serving
        return base if prompts is None else self._with_prompts(base, prompts, by)

    def require_may_use(self, version: str, by: Principal, *, param: str) -> None:
        """Raises Forbidden where the name is new and *by* is no operator."""
        if by.may(Scope.OPERATOR) or version == self.embedding.version or self.embedding.has_version(version):
            return
        existing = ", ".join(map(repr, self.embedding.names(limit=MAX_VERSIONS_LISTED))) or "none"
        raise Forbidden(
            f"There is no embedding version {version!r}, and a new name takes an operator, since it stands for one "
            "model, for good and for every team: a key with the scope operator, or manage.py rebuild "
            f"--new-embedding-version. There are: {existing}.",
            param=param,
        )

    def _with_prompts(self, base: str, prompts: NewPrompts, by: Principal) -> str:
        """The version of the same model with these prompts, whatever its name; else a new one."""
        with self.database.read() as session:
            row = session.get(EmbeddingVersion, base)
            if row is None or row.is_external:
                raise NotFound(f"No model has the embedding version {base!r}.", param="embedding_version")
            spec = ModelSpec(row.model, row.is_remote, prompts.query, prompts.document, row.dimension)
            same_model = select(EmbeddingVersion).where(EmbeddingVersion.model == spec.model)
            existing = [each for each in session.scalars(same_model) if ModelSpec.of_row(each) == spec]
        if existing:
            return existing[0].name
        name = _name_of(base, prompts)
        self.require_may_use(name, by, param="prompts")
        values = {"name": name, "model": spec.model, "is_remote": spec.is_remote, "dimension": spec.dimension}
        values |= {"query_prompt": prompts.query, "document_prompt": prompts.document}
        with self.database.write() as session:
            session.execute(insert_or_ignore(session, EmbeddingVersion).values(**values))
        return name


def _name_of(base: str, prompts: NewPrompts) -> str:
    digest = hashlib.sha256(json.dumps([prompts.query, prompts.document]).encode()).hexdigest()
    return f"{base[:200]}-prompts-{digest[:12]}"
