"""A data folder that release 1.0.0 left behind, opened by this version.

tests/data/release-1.0.0.tar.gz holds the database and the index files of an installation on which that release had
published, replaced and deleted documents of two tenants, written a checkpoint, published once more, and accepted a
document for a worker that never came. NEAREST is what that release answered.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.service import Service, open_service, settings_in

RELEASE = Path(__file__).parents[1] / "data" / "release-1.0.0.tar.gz"
NEAREST = {
    "Which animal sleeps all day?": [("cats#c0000", 0.6744), ("dogs#c0000", 0.3273), ("late#c0000", 0.3140)],
    "How many masts?": [("ships#c0000", 0.4261), ("dogs#c0000", 0.0813), ("cats#c0000", 0.0463)],
    "valve pressure": [("guide#c0000", 0.6348), ("guide#c0002", 0.6166), ("guide#c0001", 0.6113)],
}


@pytest.fixture
def upgraded(tmp_path: Path) -> Iterator[Service]:
    with tarfile.open(RELEASE) as archive:
        archive.extractall(tmp_path, filter="data")
    urls = {"database_url": f"sqlite:///{tmp_path}/ai3_rag.db", "index_dir": tmp_path / "faiss_indices"}
    with open_service(settings_in(tmp_path, **urls)) as service:
        yield service


def test_a_folder_of_release_1_0_answers_as_it_did_and_its_work_goes_on(upgraded: Service) -> None:
    assert {query: nearest(upgraded, query) for query in NEAREST} == NEAREST
    upgraded.work()
    assert [nearest(upgraded, query)[0] for query in NEAREST] == [best for best, *_ in NEAREST.values()]
    assert upgraded.problems() == []
    assert texts(upgraded, "What waits for a worker?")[0] == "This was accepted and waits for a worker: badgers dig."
    assert texts(upgraded, "schooner", mode="keyword") == ["A schooner sails with two masts and a small crew."]
    assert texts(upgraded, "Äpfel", mode="keyword") == ["Straße und Äpfel: ein Text auf Deutsch."]
    for gone in ("hunter2", "frigate", "tenant's"):
        assert texts(upgraded, gone, mode="keyword") == []
    old = upgraded.search("sails", filters={"year": {"$lt": 2000}})["chunks"]
    assert [chunk["metadata"] for chunk in old] == [{"kind": "vessel", "year": 1850}]


def test_what_release_1_0_stored_is_edited_deleted_and_rebuilt_as_anything_else(upgraded: Service) -> None:
    upgraded.work()
    assert upgraded.upsert("dogs", "Dogs bark at strangers and guard the house.")["chunks_embedded"] == 0
    upgraded.delete("cats")
    upgraded.rebuild()
    upgraded.work()
    assert [name for name, _ in nearest(upgraded, "Which animal sleeps all day?")][:2] == ["dogs#c0000", "late#c0000"]
    assert upgraded.problems() == []


def nearest(service: Service, query: str) -> list[tuple[str, Any]]:
    """Scores are compared as processors with and without bfloat16 differ."""
    chunks = service.search(query, top_k=3, mode="dense")["chunks"]
    return [(chunk["chunk_id"], pytest.approx(chunk["score"], abs=0.01)) for chunk in chunks]


def texts(service: Service, query: str, mode: str = "dense") -> list[str]:
    return [chunk["text"] for chunk in service.search(query, mode=mode)["chunks"]]
