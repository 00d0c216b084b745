"""Versions of a namespace's index with another chunking: built, followed, compared, activated, erased, deleted."""

from __future__ import annotations

from typing import Any

from tests.service.test_index_versions import VERSIONS, activate, rollback, states, version
from tests.support.service import PLACE, Service, every_store

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
