"""Versions of a namespace's index with another chunking: built, followed, compared, activated, erased, deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import func, select

from models import Chunk, Doc, Embedding, KeywordRow, Project, Revision
from tests.service.test_index_versions import VERSIONS, activate, delete, rollback, states, version
from tests.support.service import MODEL, PLACE, Service, every_store

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


def rows_of(service: Service, doc_id: str) -> dict[str, int]:
    """How many rows of the document there are, in all layers."""
    tables = (Doc, Revision, Chunk)
    with service.runtime.database.read() as session:
        return {
            table.__tablename__: session.scalar(select(func.count()).where(table.doc_id == doc_id)) or 0
            for table in tables
        }


@every_store
def test_an_erasure_reaches_mirrors_that_serve_that_are_built_and_that_were_deleted(service: Service) -> None:
    texts = {f"doc-{number}": text_of(number) for number in range(4)}
    service.batch(texts)
    built(service)
    activate(service, "small")
    service.upsert("doc-1", text_of("older"))
    service.upsert("doc-1", text_of(1))
    built(service, "dropped", chunking={"chunk_strategy": "sentences", "chunk_tokens": 24})
    delete(service, "dropped")
    create(service, "waiting", chunking={"chunk_strategy": "sentences", "chunk_tokens": 32})
    with service.runtime.database.read() as session:
        of_doc = select(Chunk.embed_hash).where(Chunk.doc_id == "doc-1", Chunk.text.contains("Tale"))
        hashes = set(session.scalars(of_doc))
        others = set(session.scalars(select(Chunk.embed_hash).where(Chunk.doc_id != "doc-1")))
    service.search("gulls", mode="hybrid")
    receipt = service.post("/v1/erasures", {**PLACE, "doc_ids": ["doc-1"]}, expect=202)
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
        found = by_doc(chunks_of(service, index_version=name))
        assert set(found) == {"doc-0", "doc-2", "doc-3"}
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
        purge(now)
        assert counts(now) == before
        assert now.problems() == []
        assert set(by_doc(chunks_of(now))) == {"doc-0", "doc-1", "doc-2"}


def counts(service: Service) -> dict[str, int]:
    with service.runtime.database.read() as session:
        tables = (Project, Doc, Revision, Chunk, Embedding, KeywordRow)
        return {each.__tablename__: session.scalar(select(func.count()).select_from(each)) or 0 for each in tables}
