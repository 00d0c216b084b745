"""The names of embedding versions: who may give them, what depends on them, and how one becomes free again."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

import manage
from engines.vectors.graphs import graph_of
from errors import Conflict, NotFound
from models import Embedding, EmbeddingVersion
from services.index.embedding import CONFIRMED_SECONDS
from tests.service.test_reembedding import other_model
from tests.support.accounts import keyed, make_team
from tests.support.service import PLACE, Service, environment, every_store, open_service, pgvector_alone, settings_in

__all__ = ["keyed", "other_model"]

NAME = "prod-v2"


def moved(service: Service, version: str) -> None:
    assert service.rebuild(reembed=True, new_embedding_version=version)["status"] == "completed"


def names(service: Service) -> list[str]:
    return [each.row.name for each in service.runtime.index.versions.list_usage()]


def test_no_team_takes_a_name_that_the_operator_wants_next(keyed: Service, other_model: str) -> None:
    team = make_team(keyed, "acme")
    team.post(f"{team.own}/projects", {"namespace": "notes"}, expect=201)
    body = {"namespace": "notes", "reembed": True, "new_embedding_version": NAME}
    team.post("/v1/index/rebuild", body, expect=403)
    with keyed.restarted(embed_model_name=other_model, embedding_version=NAME) as next_one:
        next_one.runtime.index.embedding.embedder(NAME)
        assert next_one.get("/v1/health") == {"ok": True}


def test_health_does_not_hang_on_the_version_of_a_namespace(service: Service, other_model: str) -> None:
    with service.restarted(embed_model_name=other_model, embedding_version="cls") as other:
        other.upsert("doc", "Cats sleep.")
    shutil.rmtree(other_model)
    service.runtime.index.embedding.embedder(service.settings.version)
    with service.restarted() as fresh:
        fresh.search("cats", expect=409)
        assert fresh.get("/v1/health")["ok"] is True
        assert fresh.post("/v1/search", {**PLACE, "namespace": "another", "query": "cats"})["chunks"] == []


@every_store
def test_a_name_that_nothing_uses_is_freed_and_given_to_another_model(service: Service, other_model: str) -> None:
    service.upsert("doc", "Cats sleep.")
    own, versions = service.settings.version, service.runtime.index.versions
    moved(service, NAME)
    with pytest.raises(Conflict, match="used by 1 namespaces, and 0 rebuilds"):
        versions.free(NAME)
    moved(service, own)
    job_id = service.post("/v1/index/rebuild", {**PLACE, "reembed": True, "new_embedding_version": NAME})["job_id"]
    with pytest.raises(Conflict, match="used by 0 namespaces, and 1 rebuilds"):
        versions.free(NAME)
    service.post(f"/v1/jobs/{job_id}/cancel", {})
    assert names(service) == [own, NAME]
    assert versions.free(NAME) == 1
    assert names(service) == [own]
    with service.runtime.database.read() as session:
        assert session.scalars(select(Embedding.embedding_version)).all() == [own]
    with service.restarted(embed_model_name=other_model, embedding_version=NAME) as other:
        moved(other, NAME)
        assert other.hit_ids("cats") == ["doc"]
        assert other.problems() == []
        with other.runtime.database.read() as session:
            assert session.get_one(EmbeddingVersion, NAME).model == other_model


@every_store
def test_a_process_that_knew_a_freed_name_uses_it_for_nothing_else(service: Service, other_model: str) -> None:
    service.upsert("doc", "Cats sleep.")
    own = service.settings.version
    moved(service, NAME)
    service.hit_ids("cats")
    moved(service, own)
    service.runtime.index.versions.free(NAME)
    with service.restarted(embed_model_name=other_model, embedding_version=NAME) as other:
        moved(other, NAME)
        time.sleep(CONFIRMED_SECONDS)
        for refused in (service.search("cats", expect=409), service.upsert("more", "Dogs bark.", expect=409)):
            assert "start this process again" in refused["detail"]
        assert service.get("/v1/health")["ok"] is True
    with service.restarted() as fresh:
        assert fresh.hit_ids("cats") == ["doc"]
        moved(fresh, own)
    assert service.hit_ids("cats") == ["doc"]


def test_a_process_whose_own_name_was_freed_has_it_still(service: Service) -> None:
    own = service.settings.version
    service.runtime.index.embedding.embedder(own)
    with service.restarted(embedding_version="elsewhere") as other:
        with pytest.raises(Conflict, match="is the installation's: choose another first"):
            other.runtime.index.versions.free(own)
        other.runtime.index.embedding.embedder("elsewhere")
        other.runtime.index.versions.use("elsewhere")
        other.runtime.index.versions.free(own)
    time.sleep(CONFIRMED_SECONDS)
    service.upsert("doc", "Cats sleep.")
    assert service.hit_ids("cats") == ["doc"]
    with pytest.raises(Conflict, match="EMBEDDING_VERSION that is set here"):
        service.runtime.index.versions.free(own)
    with pytest.raises(NotFound, match="no embedding version 'nothing'"):
        service.runtime.index.versions.free("nothing")


@pgvector_alone
def test_a_freed_name_leaves_no_graph_and_no_row_behind(service: Service) -> None:
    with service.restarted(index_exact_up_to=1) as exact:
        exact.batch({"one": "Cats sleep.", "two": "Dogs bark."})
        moved(exact, NAME)
        moved(exact, exact.settings.version)
        graph = graph_of(NAME, 384)
        assert graph is not None
        with exact.runtime.database.read() as session:
            assert graph.exists(session)
        assert exact.runtime.index.versions.free(NAME) == 2
        with exact.runtime.database.read() as session:
            assert not graph.exists(session)


def test_names_of_vectors_from_outside_are_kept_for_them(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, embedding_version="external-384-0123456789ab")) as service:
        assert "are for external vectors" in service.upsert("doc", "Cats sleep.", expect=409)["detail"]
        with service.runtime.database.read() as session:
            assert session.scalar(select(func.count()).select_from(EmbeddingVersion)) == 0


def test_versions_are_shown_and_freed_by_hand(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)

    def run(*arguments: str, exit_code: int = 0) -> Any:
        done = CliRunner(env=environment(settings)).invoke(manage.app, list(arguments))
        assert done.exit_code == exit_code, (done.output, done.exception)
        return done

    with open_service(settings) as service:
        chunk = {"text": "Cats.", "vector": [1, 0]}
        service.post("/v1/docs/upsert", {**PLACE, "namespace": "outside", "doc_id": "doc", "chunks": [chunk]})
        service.upsert("doc", "Cats sleep.")
        moved(service, NAME)
        moved(service, settings.version)
    output = run("versions").stdout
    assert re.search(r"^external-2-\w+ +\(external vectors\) +2 +\S+ +1 +0 *$", output, re.MULTILINE)
    assert re.search(rf"^{NAME} +{settings.embed_model_name} +384 +\S+ +0 +0 *$", output, re.MULTILINE)
    assert run("free-version", NAME).stdout == f"version {NAME} is free; 1 vectors were deleted\n"
    assert NAME not in run("versions").stdout
    assert "no embedding version" in run("free-version", NAME, exit_code=1).stderr
    assert "is used by 1 namespaces" in run("free-version", _external(output), exit_code=1).stderr


def _external(output: str) -> str:
    match = re.search(r"external-\S+", output)
    assert match is not None
    return match[0]
