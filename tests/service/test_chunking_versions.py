"""Versions of a namespace's index with another chunking: built, followed, compared, activated, erased, deleted."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from domain import MIRROR_MARK
from engines.embedders.base import Embedder
from errors import Invalid
from models import Chunk, Doc, Embedding, KeywordRow, Project, Revision
from services.index.indexing import IndexingService
from services.index.pacing import FIRST_TEXTS
from services.operations.exporting import ExportOptions
from services.operations.importing import ImportTarget
from tests.service.test_index_versions import VERSIONS, activate, delete, rollback, states, version
from tests.support.embedding_server import embedding_server
from tests.support.plans import executed
from tests.support.processes import until, worker_process
from tests.support.service import MODEL, PLACE, Service, end_leases, every_store, open_service, settings_in, vectors_of

SMALL = {"chunk_tokens": 16}
SENTENCES = (
    "The harbour froze.",
    "Gulls cried over the pier.",
    "Nobody sailed that week.",
    "The lamps burned all night.",
)


def create(service: Service, name: str = "small", *, expect: int = 202, **more: Any) -> Any:
    body = {**PLACE, "name": name, "chunking": {"chunk_strategy": "sentences", **SMALL}, **more}
    return service.post(VERSIONS, body, expect=expect)


def built(service: Service, name: str = "small", **more: Any) -> Any:
    create(service, name, **more)
    service.work()
    return version(service, name)


def text_of(number: int | str) -> str:
    """A text that is one chunk of its own namespace, and several in small chunks."""
    return " ".join(f"Tale {number}. {sentence}" for sentence in SENTENCES)


def chunks_of(service: Service, query: str = "gulls over the harbour", **more: Any) -> list[Any]:
    chunks: list[Any] = service.search(query, top_k=100, **more)["chunks"]
    return chunks


def by_doc(chunks: list[Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for chunk in chunks:
        counts[chunk["doc_id"]] = counts.get(chunk["doc_id"], 0) + 1
    return counts


@every_store
def test_a_version_with_another_chunking_is_built_searched_activated_and_rolled_back(service: Service) -> None:
    service.batch({f"doc-{number}": text_of(number) for number in range(4)})
    small = built(service)
    assert (small["state"], small["lag"], small["problem"]) == ("ready", 0, None)
    assert small["chunking"]["chunk_tokens"] == 16
    assert small["chunks"] == small["vectors"] > 8
    assert by_doc(chunks_of(service)) == {f"doc-{number}": 1 for number in range(4)}
    for mode in ("dense", "keyword", "hybrid"):
        beside = chunks_of(service, index_version="small", mode=mode)
        assert set(by_doc(beside)) == {f"doc-{number}" for number in range(4)}
        assert all(len(chunk["text"]) < len(text_of(0)) for chunk in beside)
    before = service.search("gulls", top_k=1)["index"]["seq"]
    assert activate(service, "small", expected_active="initial")["state"] == "active"
    assert states(service) == {"initial": "retired", "small": "active"}
    assert service.search("gulls", top_k=1)["index"]["seq"] > before
    assert sum(by_doc(chunks_of(service)).values()) == small["chunks"]
    in_doc = service.chunks("doc-1")
    assert len(in_doc) == service.doc("doc-1")["chunk_count"] > 1
    assert service.stats()["ntotal"] == small["chunks"]
    service.upsert("late", text_of("late"))
    service.batch({"doc-2": text_of("new")}, async_mode=True)
    service.delete("doc-0")
    service.work()
    for name, fewest in (("initial", 1), ("small", 2)):
        counts = by_doc(chunks_of(service, index_version=name))
        assert sorted(counts) == ["doc-1", "doc-2", "doc-3", "late"]
        assert all(count >= fewest for count in counts.values())
        texts = [chunk["text"] for chunk in chunks_of(service, index_version=name) if chunk["doc_id"] == "doc-2"]
        assert all("Tale 2" not in text for text in texts)
    assert rollback(service, expected_active="small")["name"] == "initial"
    assert by_doc(chunks_of(service)) == {"doc-1": 1, "doc-2": 1, "doc-3": 1, "late": 1}
    service.rebuild()
    assert service.problems() == []
    assert rollback(service)["name"] == "small"
    assert set(by_doc(chunks_of(service))) == {"doc-1", "doc-2", "doc-3", "late"}


@every_store
def test_writes_during_a_build_reach_it_once_and_later_ones_of_every_kind_too(service: Service) -> None:
    service.batch({f"doc-{number}": text_of(number) for number in range(4)})
    create(service)
    building = service.runtime.index.indexing.vectors.build

    def build_while_others_write(*args: Any, **kwargs: Any) -> Any:
        result = building(*args, **kwargs)
        service.upsert("between", text_of("between"))
        service.upsert("doc-1", text_of("changed"))
        service.upsert("doc-2", text_of(2), title="Told anew")
        service.delete("doc-0")
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service.runtime.index.indexing.vectors, "build", build_while_others_write)
        assert service.worker.run_one()
    assert version(service, "small")["state"] == "ready"
    assert_same_documents(service, {"between", "doc-1", "doc-2", "doc-3"})
    upload = {"file": ("tale.txt", text_of("file").encode())}
    service.client.post("/v1/docs/upload", data={**PLACE, "doc_id": "file"}, files=upload).raise_for_status()
    line = json.dumps({**PLACE, "doc_id": "line", "text": text_of("line")})
    service.client.post("/v1/docs/upsert/stream", content=line).raise_for_status()
    service.post("/v1/docs/upsert", {**PLACE, "doc_id": "own", "chunks": [{"text": "One."}, {"text": text_of("own")}]})
    service.upsert("doc-3", text_of(3), metadata={"year": 1901})
    service.work()
    present = {"between", "doc-1", "doc-2", "doc-3", "file", "line", "own"}
    assert_same_documents(service, present)
    filtered = chunks_of(service, index_version="small", filters={"year": 1901})
    assert set(by_doc(filtered)) == {"doc-3"}
    assert by_doc(chunks_of(service, index_version="small"))["own"] == 2
    service.post("/v1/docs/delete", {**PLACE, "filters": {"year": 1901}}, expect=202)
    service.work()
    assert_same_documents(service, present - {"doc-3"})
    service.post("/v1/docs/delete", {**PLACE, "whole_namespace": PLACE["namespace"]}, expect=202)
    service.work()
    assert_same_documents(service, set())


def assert_same_documents(service: Service, doc_ids: set[str]) -> None:
    for mode in ("dense", "keyword"):
        for name in ("initial", "small"):
            chunks = chunks_of(service, "gulls over the harbour tale", index_version=name, mode=mode)
            assert set(by_doc(chunks)) == doc_ids, (mode, name)
            keys = [chunk["chunk_id"] for chunk in chunks]
            assert len(keys) == len(set(keys))
    assert service.problems() == []


def broken(*_: Any, **__: Any) -> Any:
    raise Invalid("The disk of the worker is full.")


def rows_of(service: Service, doc_id: str) -> dict[str, int]:
    """How many rows of the document there are, in all layers."""
    tables = (Doc, Revision, Chunk)
    with service.runtime.database.read() as session:
        return {
            table.__tablename__: session.scalar(select(func.count()).where(table.doc_id == doc_id)) or 0
            for table in tables
        }


@every_store
@pytest.mark.parametrize("by", ["doc_ids", "filters"])
def test_an_erasure_reaches_mirrors_that_serve_that_are_built_and_that_were_deleted(service: Service, by: str) -> None:
    texts = {f"doc-{number}": text_of(number) for number in range(4)}
    service.batch(texts)
    built(service)
    activate(service, "small")
    service.upsert("doc-1", text_of("older"))
    service.upsert("doc-1", text_of(1))
    built(service, "dropped", chunking={"chunk_strategy": "sentences", "chunk_tokens": 24})
    delete(service, "dropped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IndexingService, "complete", broken)
        half = built(service, "half", chunking={"chunk_strategy": "sentences", "chunk_tokens": 20})
    assert (half["state"], half["vectors"], half["chunks"] > 0) == ("failed", 0, True)
    service.batch({"doc-1": text_of("pending")}, async_mode=True)
    create(service, "waiting", chunking={"chunk_strategy": "sentences", "chunk_tokens": 32})
    with service.runtime.database.read() as session:
        of_doc = select(Chunk.embed_hash).where(Chunk.doc_id == "doc-1", Chunk.text.contains("Tale"))
        hashes = set(session.scalars(of_doc))
        others = set(session.scalars(select(Chunk.embed_hash).where(Chunk.doc_id != "doc-1")))
    service.search("gulls", mode="hybrid")
    body = {**PLACE, **({"doc_ids": ["doc-1"]} if by == "doc_ids" else {"filters": {"doc_id": "doc-1"}})}
    receipt = service.post("/v1/erasures", body, expect=202)
    service.work()
    done = service.get(f"/v1/erasures/{receipt['erasure_id']}")
    stores = {each["store"]: each for each in done["receipt"]["stores"]}
    assert {each["left"] for each in stores.values()} == {0}
    assert stores["documents"]["erased"] == 1
    assert rows_of(service, "doc-1") == {"docs": 0, "revisions": 0, "chunks": 0}
    with service.runtime.database.read() as session:
        kept = session.scalars(select(Embedding.embed_hash)).all()
        assert not (hashes - others) & set(kept)
        ids = {tuple(row) for row in session.execute(select(Chunk.project_id, Chunk.faiss_id))}
        assert {tuple(row) for row in session.execute(select(KeywordRow.project_id, KeywordRow.faiss_id))} <= ids
    for name in ("initial", "small", "waiting"):
        assert set(by_doc(chunks_of(service, index_version=name))) == {"doc-0", "doc-2", "doc-3"}
    assert service.problems() == []
    path = f"/v1/teams/{PLACE['tenant_id']}/projects/{PLACE['namespace']}"
    confirmed = {"confirm_namespace": PLACE["namespace"]}
    assert service.client.request("DELETE", path, json=confirmed).status_code == 202
    service.work()
    service.runtime.queue.prune(0)
    assert service.runtime.erasure.erasing.drop_shells() == 1
    purge(service)
    with service.runtime.database.read() as session:
        for table in (Project, Doc, Chunk, Embedding, KeywordRow):
            assert session.scalar(select(func.count()).select_from(table)) == 0, table
    assert service.index_files() == []


def purge(service: Service) -> None:
    while service.runtime.erasure.purging.purge():
        pass


def test_a_deleted_version_leaves_nothing_behind_its_purge(service: Service) -> None:
    with service.restarted(keep_deleted_days=0) as now:
        now.batch({f"doc-{number}": text_of(number) for number in range(3)})
        before = counts(now)
        built(now)
        built(now, "prompts", chunking=None, prompts={"document": "A tale: "})
        activate(now, "small")
        now.search("gulls")
        now.runtime.answers.query_log.flush()
        assert "the active one" in delete(now, "small", expect=409)["detail"]
        assert delete(now, "initial")["deleted"]
        assert "only one that indexes the chunks" in delete(now, "prompts", expect=409)["detail"]
        activate(now, "prompts")
        built(now, "initial", chunking=None, embedding_version=MODEL, activate="when_ready")
        delete(now, "small")
        delete(now, "prompts")
        assert built(now)["state"] == "ready"  # under the name of the one that waits for the purge
        now.upsert("gone", text_of("gone"))
        now.delete("gone")
        now.rebuild()
        purge(now)
        assert rows_of(now, "gone") == {"docs": 0, "revisions": 0, "chunks": 0}
        assert version(now, "small")["vectors"] == version(now, "small")["chunks"] > 3
        assert now.problems() == []
        delete(now, "small")
        purge(now)
        assert counts(now) == before
        assert len(now.index_files()) == (1 if now.keeps_files else 0)
        assert now.problems() == []
        assert set(by_doc(chunks_of(now))) == {"doc-0", "doc-1", "doc-2"}


def counts(service: Service) -> dict[str, int]:
    with service.runtime.database.read() as session:
        tables = (Project, Doc, Revision, Chunk, Embedding, KeywordRow)
        return {each.__tablename__: session.scalar(select(func.count()).select_from(each)) or 0 for each in tables}


def test_a_comparison_is_by_document_and_so_are_gates_and_the_shadow(service: Service) -> None:
    service.batch({f"doc-{number}": text_of(number) for number in range(4)})
    built(service, activate="if_passes", gates={"min_overlap": 0.4})
    assert "never compared" in activate(service, "small", expect=409)["detail"]
    body = {**PLACE, "share": 1, "until": "2100-01-01T00:00:00Z"}
    service.post(f"{VERSIONS}/small/shadow", body)
    service.search("gulls", top_k=100)
    until(lambda: (version(service, "small")["shadow"] or {}).get("queries") == 1)
    assert version(service, "small")["shadow"]["overlap"] == 1
    queries = {f"q{number}": f"Tale {number}" for number in range(4)}
    body = {**PLACE, "queries": queries, "qrels": {"q1": {"doc-1": 1}}, "k": 2, "modes": ["keyword", "hybrid"]}
    job_id = service.post(f"{VERSIONS}/small/compare", body, expect=202)["job_id"]
    service.work()
    report = service.job(job_id)["result"]
    assert (report["by"], report["k"]) == ("document", 2)
    assert report["version"]["chunking"]["chunk_tokens"] == 16
    assert report["modes"]["keyword"]["top1_agreement"] == 1
    assert states(service) == {"initial": "retired", "small": "active"}
    service.runtime.answers.query_log.flush()
    usage = service.get("/v1/usage", PLACE)["data"]
    assert {day["namespace"] for day in usage} == {PLACE["namespace"]}


@every_store
def test_what_cannot_follow_lags_but_a_version_that_serves_decides_what_is_stored(
    service: Service,
) -> None:
    service.upsert("doc-1", text_of(1))
    built(service)
    with service.restarted(max_chunks_per_document=2) as strict:
        assert strict.upsert("doc-2", text_of(2))["upserted_docs"] == 1
        lagging = version(strict, "small")
        assert (lagging["state"], lagging["lag"]) == ("building", 1)
        assert "at most 2 are accepted" in lagging["problem"]
        assert "is not complete" in strict.search("gulls", index_version="small", expect=409)["detail"]
        strict.work()
        assert states(strict) == {"initial": "active", "small": "failed"}
    create(service)
    service.work()
    assert version(service, "small")["problem"] is None
    activate(service, "small")
    with service.restarted(max_chunks_per_document=2) as strict:
        assert "at most 2 are accepted" in strict.upsert("doc-3", text_of(3), expect=422)["detail"]
        job_id = strict.batch({"doc-3": text_of(3), "doc-4": "Gulls."}, async_mode=True)["job_id"]
        strict.work()
        assert [each["doc_id"] for each in strict.job(job_id)["result"]["errors"]] == ["doc-3"]
        assert "at most 2 are accepted" in strict.doc("doc-3")["error"]
    service.post("/v1/docs/doc-3/retry", {}, params=PLACE)
    service.work()
    assert_same_documents(service, {"doc-1", "doc-2", "doc-3", "doc-4"})


def test_a_worker_killed_in_mid_build_is_followed_by_one_that_goes_on_and_embeds_nothing_twice(
    database_url: str, tmp_path: Path, bundled_model: Embedder
) -> None:
    with embedding_server(bundled_model) as server:
        settings = settings_in(tmp_path, database_url=database_url, **vectors_of(server))
        with open_service(settings) as service:
            service.batch({f"doc-{number}": text_of(number) for number in range(60)})
            own = [{"text": "One tale."}, {"text": "Another tale."}]
            service.post("/v1/docs/upsert", {**PLACE, "doc_id": "own", "chunks": own})
            job_id, before = create(service)["job_id"], len(server.texts)
            with worker_process(settings) as worker:
                until(partial(lambda: len(server.texts) > before + FIRST_TEXTS), pause=0.005)
                worker.kill()
            end_leases(service.runtime.database)
            service.upsert("doc-0", text_of("new"))
            written = len(service.chunks("doc-0"))
            service.work()
            assert (service.job(job_id)["status"], version(service, "small")["state"]) == ("completed", "ready")
            texts = server.texts[before:]
            assert len(texts) - len(set(texts)) <= 4 * FIRST_TEXTS  # the step that the kill cut short
            assert service.job(job_id)["result"]["chunks_embedded"] <= len(set(texts)) - written
            assert set(by_doc(chunks_of(service, index_version="small"))) <= {"own", *map("doc-{}".format, range(60))}
            assert version(service, "small")["chunks"] == version(service, "small")["vectors"]
            assert service.problems() == []


def test_a_document_counts_once(service: Service) -> None:
    service.batch({f"doc-{number}": text_of(number) for number in range(3)})
    before = service.stats()
    built(service)
    after = service.stats()
    assert {**after, "versions": [], "seq": 0} == {**before, "versions": [], "seq": 0}
    counted = {each["name"]: (each["chunks"], each["vectors"]) for each in after["versions"]}
    small = version(service, "small")["chunks"]
    assert counted == {"initial": (3, 3), "small": (small, small)}
    with service.runtime.database.read() as session:
        times = session.scalars(select(Revision.published_at).where(Revision.status == "live")).all()
    assert len(set(times)) == 1  # a filter on updated_at is the same in both
    activate(service, "small")
    assert (service.stats()["ntotal"], service.stats()["live_docs"]) == (small, 3)
    [project] = service.get("/v1/teams/acme/projects")["data"]
    assert project["namespace"] == PLACE["namespace"]
    jobs = service.get("/v1/jobs", {"tenant_id": "acme"})["data"]
    assert {job["namespace"] for job in jobs} == {PLACE["namespace"]}
    for mirror in range(1, 9):
        hidden = {"tenant_id": "acme", "namespace": f"{MIRROR_MARK}1 {mirror}"}
        service.get("/v1/docs/list", hidden, expect=404)
        hit = service.post("/v1/search", {**hidden, "query": "gulls"})
        assert hit["chunks"] == []


def test_an_export_has_the_chunks_that_serve_and_an_import_reaches_every_version(service: Service) -> None:
    service.batch({f"doc-{number}": text_of(number) for number in range(3)})
    small = built(service, activate="when_ready")["chunks"]
    options = ExportOptions(with_vectors=True)
    file = b"".join(service.runtime.operations.exporting.export("acme", options))
    archive = service.settings.index_dir.parent / "export.tar.zst"
    archive.write_bytes(file)
    importing = service.runtime.operations.importing
    [there] = importing.run(importing.open(archive), ImportTarget("other"), lambda *_: None)
    assert (there.result.chunks_created, there.result.chunks_embedded) == (small, 0)
    for number in range(3):
        service.delete(f"doc-{number}")
    importing.run(importing.open(archive), ImportTarget("acme"), lambda *_: None)
    assert_same_documents(service, {"doc-0", "doc-1", "doc-2"})


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)
def test_a_mirror_costs_no_walk(service: Service) -> None:
    service.batch({f"doc-{number}": text_of(number) for number in range(4)})
    built(service, activate="when_ready")
    service.search("gulls", index_version="initial")
    with executed() as beside:
        service.upsert("doc-2", text_of("woken"))
        service.batch({"doc-3": text_of("woken too")}, async_mode=True)
        service.work()
        service.search("gulls", mode="hybrid")
        service.search("gulls", mode="hybrid", index_version="initial")
        service.chunks("doc-2")
        service.delete("doc-0")
    assert not (walks := beside.walks()), walks


def test_what_is_erased_by_a_newer_content_that_waits_leaves_every_version(service: Service) -> None:
    service.batch({f"doc-{number}": text_of(number) for number in range(2)})
    built(service)
    docs = [{**PLACE, "doc_id": "doc-1", "text": text_of("secret"), "metadata": {"secret": True}}]
    service.post("/v1/docs/upsert/batch", {"docs": docs, "async_mode": True})
    service.post("/v1/erasures", {**PLACE, "filters": {"secret": True}}, expect=202)
    service.work()
    assert rows_of(service, "doc-1") == {"docs": 0, "revisions": 0, "chunks": 0}
    assert_same_documents(service, {"doc-0"})


def test_a_title_that_heads_the_chunks_of_a_version_is_a_content_of_its_own(service: Service) -> None:
    service.upsert("doc", text_of(1), title="Winter")
    built(service, chunking={"chunk_strategy": "sentences", "enrich_context": True, **SMALL})
    assert "Winter" in chunks_of(service, index_version="small", mode="keyword", query="winter")[0]["title"]
    service.upsert("doc", text_of(1), title="Summer")
    assert chunks_of(service, "summer", index_version="small", mode="keyword")
    assert chunks_of(service, "winter", index_version="small", mode="keyword") == []
    with service.runtime.database.read() as session:
        live = select(Chunk.header).where(Chunk.dead_seq.is_(None), Chunk.header != "")
        assert all("Summer" in header for header in session.scalars(live))
    assert service.problems() == []
