"""One model per installation: the first that was loaded stays, and a process that names none runs it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from errors import ModelUnavailable, NotFound
from models import Installation
from runtime.opening import open_runtime
from services.operations.diagnosing import Finding
from tests.service.test_reembedding import other_model
from tests.support.service import MODEL, PLACE, Service, settings_in

__all__ = ["other_model"]

NO_MODEL: dict[str, Any] = {"embed_model_name": "", "embedding_version": "", "embed_default_model": "/no/such/model"}


def load(service: Service) -> None:
    service.runtime.index.embedding.embedder(service.runtime.settings.version)


def installed(service: Service) -> list[str]:
    with service.runtime.database.read() as session:
        return list(session.scalars(select(Installation.embedding_version)))


def findings(service: Service) -> dict[str, Finding]:
    return {each.name: each for each in service.runtime.operations.diagnosing.examine()}


def test_a_process_that_names_no_model_runs_the_one_that_the_first_process_chose(service: Service) -> None:
    load(service)
    with service.restarted(**NO_MODEL) as next_one:
        build = next_one.get("/v1/health")["build_info"]
        assert (build["embedding_model"], build["embedding_version"]) == (MODEL, service.settings.version)
        next_one.upsert("doc", "Cats sleep.")
        assert next_one.hit_ids("cats") == ["doc"]
        assert "installation" not in findings(next_one)
        assert installed(next_one) == [MODEL]


def test_the_prompts_and_the_name_of_the_version_are_the_installations_too(database_url: str, tmp_path: Path) -> None:
    settings = settings_in(tmp_path, database_url=database_url)
    named = {"embedding_version": "prod-1", "embed_query_prompt": "query: "}
    with open_runtime(settings.model_copy(update=named)) as first:
        first.index.embedding.embedder("prod-1")
    with open_runtime(settings.model_copy(update=NO_MODEL)) as next_one:
        assert next_one.settings.embed_model_name == MODEL
        assert {name: getattr(next_one.settings, name) for name in named} == named
        assert next_one.index.embedding.embedder("prod-1").dimension == 384


def test_a_model_that_cannot_be_loaded_is_not_chosen(database_url: str, tmp_path: Path) -> None:
    settings = settings_in(tmp_path, database_url=database_url).model_copy(update=NO_MODEL)
    with open_runtime(settings) as without, pytest.raises(ModelUnavailable, match="no model folder"):
        without.index.embedding.embedder("/no/such/model")
    with open_runtime(settings.model_copy(update={"embed_default_model": MODEL})) as first:
        first.index.embedding.embedder(MODEL)
    with open_runtime(settings) as next_one:
        assert next_one.settings.version == MODEL


def test_a_process_with_another_model_says_so_and_serves_both(
    service: Service, other_model: str, caplog: pytest.LogCaptureFixture
) -> None:
    load(service)
    service.upsert("doc", "Cats sleep.")
    caplog.set_level(logging.WARNING)
    with service.restarted(embed_model_name=other_model, embedding_version="cls") as other:
        load(other)
        assert "the installation's is 'sentence-transformers/all-MiniLM-L6-v2'" in caplog.text
        assert "manage.py use-version cls" in caplog.text
        assert findings(other)["installation"].is_warning
        assert other.hit_ids("cats") == ["doc"]
        assert other.rebuild(reembed=True)["status"] == "completed"
        assert installed(other) == [MODEL]
        other.runtime.index.versions.use("cls")
        assert "installation" not in findings(other)
    with service.restarted(**NO_MODEL) as after:
        assert (after.runtime.settings.embed_model_name, after.runtime.settings.version) == (other_model, "cls")
        assert after.hit_ids("cats") == ["doc"]
        [own] = [each for each in after.runtime.index.versions.list_usage() if each.is_chosen]
        assert own.row.name == "cls"


def test_a_version_that_is_named_without_a_model_brings_its_own(service: Service, other_model: str) -> None:
    load(service)
    with service.restarted(embed_model_name=other_model, embedding_version="cls") as other:
        load(other)
    with service.restarted(**{**NO_MODEL, "embedding_version": "cls"}) as named:
        assert named.runtime.settings.embed_model_name == other_model
    with service.restarted(**{**NO_MODEL, "embedding_version": "again"}) as new:
        assert (new.runtime.settings.embed_model_name, new.runtime.settings.version) == (MODEL, "again")


def test_only_a_version_with_a_model_can_become_the_installations(service: Service) -> None:
    load(service)
    service.post("/v1/docs/upsert", {**PLACE, "doc_id": "doc", "chunks": [{"text": "Cats.", "vector": [1, 0]}]})
    [external] = [each.row.name for each in service.runtime.index.versions.list_usage() if each.row.is_external]
    for name in ("nothing", external):
        with pytest.raises(NotFound, match="No model has the embedding version"):
            service.runtime.index.versions.use(name)
    assert installed(service) == [MODEL]
