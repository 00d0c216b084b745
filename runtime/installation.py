"""Which model a process runs: the one that its settings name, or else the installation's."""

from __future__ import annotations

from database.engine import Database
from services.index.installation import version_to_run
from settings import Settings


def with_model(settings: Settings, database: Database) -> Settings:
    """The settings with a model. What is set beside the model stays as it is set."""
    if settings.embed_model_name:
        return settings
    version = version_to_run(database, settings.embedding_version)
    if version is None:
        return settings.model_copy(update={"embed_model_name": settings.embed_default_model})
    is_remote = version.is_remote and settings.embed_backend == "auto"
    prompts = {"embed_query_prompt": version.query_prompt, "embed_document_prompt": version.document_prompt}
    changed = {
        "embed_model_name": version.model,
        "embedding_version": settings.embedding_version or version.name,
        "embed_backend": "remote" if is_remote else settings.embed_backend,
        **{name: prompt for name, prompt in prompts.items() if getattr(settings, name) is None},
    }
    return settings.model_copy(update=changed)
