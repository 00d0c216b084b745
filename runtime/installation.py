"""Which model a process runs: the one that its settings name, or else the installation's."""

from __future__ import annotations

from database.engine import Database
from models import EmbeddingVersion
from services.index.installation import chosen_version
from settings import Settings


def with_model(settings: Settings, database: Database) -> Settings:
    """The settings with a model. A process that names an embedding version alone runs that version's model."""
    if settings.embed_model_name:
        return settings
    version = _version(settings.embedding_version, database)
    if version is None:
        return settings.model_copy(update={"embed_model_name": settings.embed_default_model})
    return settings.model_copy(update=_model_of(version, settings))


def _version(name: str, database: Database) -> EmbeddingVersion | None:
    with database.read() as session:
        named = session.get(EmbeddingVersion, name) if name else None
        return named if named is not None and not named.is_external else chosen_version(session)


def _model_of(version: EmbeddingVersion, settings: Settings) -> dict[str, object]:
    """What is set beside the model stays as it is set."""
    is_remote = version.is_remote and settings.embed_backend == "auto"
    prompts = {"embed_query_prompt": version.query_prompt, "embed_document_prompt": version.document_prompt}
    return {
        "embed_model_name": version.model,
        "embedding_version": settings.embedding_version or version.name,
        "embed_backend": "remote" if is_remote else settings.embed_backend,
        **{name: prompt for name, prompt in prompts.items() if getattr(settings, name) is None},
    }
