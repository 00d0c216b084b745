"""Vector stores are namespaces: what comes in by one door is found, listed, changed and deleted by the other."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, Literal

import openai
import pytest
from openai import OpenAI
from sqlalchemy import func, select, update

from housekeeping import Housekeeping
from models import Doc, FileObject, IngestUsage, LoggedQuery, Team, Upload, UploadPart, VectorStoreRow, utc_now
from services.operations.manifests import raw_file_names
from tests.support.accounts import keyed
from tests.support.openai_client import client_of, hit_files, upload
from tests.support.processes import until
from tests.support.service import Service

__all__ = ["keyed"]

TENANT = "default"
Ranker = Literal["none", "auto"]


@pytest.fixture
def client(service: Service) -> OpenAI:
    return client_of(service)


def place(namespace: str) -> dict[str, str]:
    return {"tenant_id": TENANT, "namespace": namespace}


def our_store(client: OpenAI, namespace: str) -> str:
    """The id of a namespace that came to be by our door."""
    [store] = [each for each in client.vector_stores.list() if each.name == namespace]
    return store.id


def attach(client: OpenAI, store: str, text: str, **attributes: Any) -> str:
    file = upload(client, text)
    client.vector_stores.files.create(store, file_id=file, attributes=attributes)
    return file


def test_what_comes_by_ours_is_seen_changed_and_deleted_by_theirs(service: Service, client: OpenAI) -> None:
    name = "guides/für alle.md"
    paragraphs = [f"# Part {n}\n\nCats number {n} sleep in the sun." for n in range(12)]
    metadata = {"year": 2025, "tags": ["a"], "page": 7}
    doc = {**place("ours"), "doc_id": name, "text": "\n\n".join(paragraphs), "chunk_strategy": "markdown"}
    service.post("/v1/docs/upsert", {**doc, "metadata": metadata, "title": "Cats"})
    store = our_store(client, "ours")
    [listed] = client.vector_stores.files.list(store)
    assert (listed.id, listed.status, listed.attributes) == (name, "completed", {"year": 2025, "page": 7})
    texts = [part.text or "" for part in client.vector_stores.files.content(name, vector_store_id=store)]
    assert [f"number {n} " in text for n, text in enumerate(texts)] == [True] * 12
    page = client.vector_stores.search(store, query="cats", max_num_results=5)
    assert (len(page.data), page.data[0].file_id, page.data[0].filename) == (5, name, "Cats")
    client.vector_stores.files.update(name, vector_store_id=store, attributes={"year": 2026})
    shown = service.get("/v1/docs", {**place("ours")})["data"][0]["metadata"]
    assert shown == {"year": 2026, "tags": ["a"]}  # what is no attribute there is not theirs to lose
    client.vector_stores.files.delete(name, vector_store_id=store)
    assert service.get("/v1/docs", place("ours"))["data"] == []
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.files.retrieve(name, vector_store_id=store)


def test_what_comes_by_theirs_is_seen_and_deleted_by_ours(service: Service, client: OpenAI) -> None:
    store = client.vector_stores.create(name="theirs", file_ids=[upload(client, "Dogs bark all night.", "dogs.txt")])
    assert store.file_counts.in_progress == 1
    service.work()
    [doc] = service.get("/v1/docs", place("theirs"))["data"]
    assert (doc["filename"], doc["status"], doc["metadata"]) == ("dogs.txt", "ready", {"filename": "dogs.txt"})
    [chunk] = service.post("/v1/search", {**place("theirs"), "query": "Who barks?"})["chunks"]
    assert chunk["doc_id"] == doc["doc_id"]
    answer = service.client.delete(f"/v1/docs/{doc['doc_id']}", params=place("theirs"))
    assert answer.status_code == 200
    assert (hit_files(client, store.id, "Who barks?"), list(client.vector_stores.files.list(store.id))) == ([], [])
    assert client.vector_stores.retrieve(store.id).file_counts.total == 0
    assert client.files.retrieve(doc["doc_id"]).filename == "dogs.txt"


def test_changed_attributes_filter_the_next_search_and_nothing_is_embedded(service: Service, client: OpenAI) -> None:
    store = client.vector_stores.create(name="s").id
    file = attach(client, store, "Cats sleep all day.", year=2024)
    service.work()
    embedded = chunks_embedded(service)
    assert hit_files(client, store, "cats", filters={"type": "eq", "key": "year", "value": 2024}) == [file]
    service.post(
        "/v1/docs/upsert/batch", {"docs": [{**place("s"), "doc_id": file, "text": "Newer."}], "async_mode": True}
    )
    for year in (2025, 2026):  # a newer revision is waiting: the live one is what is found
        client.vector_stores.files.update(file, vector_store_id=store, attributes={"year": year})
        for value, hits in ((year, [file]), (year - 1, [])):
            assert hit_files(client, store, "cats", filters={"type": "eq", "key": "year", "value": value}) == hits
    assert chunks_embedded(service) == embedded
    service.work()
    assert hit_files(client, store, "newer", filters={"type": "eq", "key": "year", "value": 2026}) == [file]
    assert service.problems() == []


def chunks_embedded(service: Service) -> int:
    with service.runtime.database.read() as session:
        return session.scalars(select(func.sum(IngestUsage.chunks_embedded))).one()


FILTERS: dict[str, Any] = {
    "eq": ({"type": "eq", "key": "kind", "value": "a"}, "1"),
    "ne, missing too": ({"type": "ne", "key": "kind", "value": "a"}, "23"),
    "gt": ({"type": "gt", "key": "n", "value": 1}, "2"),
    "gte": ({"type": "gte", "key": "n", "value": 1}, "12"),
    "lt": ({"type": "lt", "key": "n", "value": 2}, "1"),
    "lte": ({"type": "lte", "key": "n", "value": 2.0}, "12"),
    "in": ({"type": "in", "key": "kind", "value": ["a", "b"]}, "12"),
    "nin": ({"type": "nin", "key": "kind", "value": ["a"]}, "23"),
    "an attribute that is called as a field of ours": ({"type": "eq", "key": "page", "value": "front"}, "3"),
    "and the name of a time": ({"type": "eq", "key": "created_at", "value": 5}, "3"),
    "a truth is no number": ({"type": "eq", "key": "n", "value": True}, ""),
    "nested": (
        {
            "type": "or",
            "filters": [
                {"type": "eq", "key": "page", "value": "front"},
                {
                    "type": "and",
                    "filters": [{"type": "gt", "key": "n", "value": 0}, {"type": "lt", "key": "n", "value": 2}],
                },
            ],
        },
        "13",
    ),
}


def test_filters_mean_what_theirs_mean(service: Service, client: OpenAI) -> None:
    docs = {"1": {"kind": "a", "n": 1}, "2": {"kind": "b", "n": 2}, "3": {"page": "front", "created_at": 5}}
    items = [{**place("s"), "doc_id": name, "text": f"Cats {name}.", "metadata": each} for name, each in docs.items()]
    service.post("/v1/docs/upsert/batch", {"docs": items})
    store = our_store(client, "s")
    hits = {name: "".join(sorted(hit_files(client, store, "cats", filters=each[0]))) for name, each in FILTERS.items()}
    assert hits == {name: each[1] for name, each in FILTERS.items()}
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.vector_stores.search(store, query="cats", filters={"type": "near", "key": "n", "value": 1})  # type: ignore[arg-type]
    assert refused.value.param is not None and refused.value.param.startswith("filters")


def test_searches_are_bounded_and_say_what_was_looked_for(service: Service, client: OpenAI) -> None:
    docs = [{**place("s"), "doc_id": str(n), "text": f"Cats number {n} sleep."} for n in range(12)]
    service.post("/v1/docs/upsert/batch", {"docs": docs})
    store = our_store(client, "s")
    assert len(hit_files(client, store, "cats")) == 10
    raw = client.vector_stores.with_raw_response
    both = raw.search(store, query=["cats", "sleep"], max_num_results=12).http_response
    assert (both.json()["search_query"], both.json()["has_more"]) == (["cats", "sleep"], False)
    some = raw.search(store, query="cats", max_num_results=11).http_response
    assert (len(some.json()["data"]), some.json()["has_more"]) == (11, True)
    assert hit_files(client, store, "cats", ranking_options={"score_threshold": 1.0, "ranker": "none"}) == []
    wrong: list[dict[str, Any]] = [{"max_num_results": 51}, {"query": []}, {"ranking_options": {"ranker": "x"}}]
    for each in wrong:
        with pytest.raises(openai.UnprocessableEntityError):
            client.vector_stores.search(store, **{"query": "cats", **each})


def test_lists_end_where_they_end_and_go_on_behind_what_was_deleted(service: Service, client: OpenAI) -> None:
    files = [upload(client, f"Cats {n}.") for n in range(5)]
    stores = [client.vector_stores.create(name=f"s{n}").id for n in range(5)]
    batch = client.vector_stores.file_batches.create(stores[0], file_ids=files)
    service.work()
    kept = [1, 3, 4]
    for number in (0, 2):
        client.files.delete(files[number])
    for number in (1, 2):
        client.vector_stores.delete(stores[number])
    lists: list[tuple[Any, list[str], list[str]]] = [
        (client.files.list, files, [files[n] for n in kept]),
        (lambda **page: client.vector_stores.files.list(stores[0], **page), files, [files[n] for n in kept]),
        (
            lambda **page: client.vector_stores.file_batches.list_files(batch.id, vector_store_id=stores[0], **page),
            files,
            [files[n] for n in kept],
        ),
        (client.vector_stores.list, stores, [stores[n] for n in (0, 3, 4)]),
    ]
    for listing, every, left in lists:
        assert [each.id for each in listing(limit=1, order="asc")] == left
        assert [each.id for each in listing(limit=2)] == left[::-1]
        assert [each.id for each in listing(after=every[2], order="asc")] == left[1:]
        first, last = listing(limit=2, order="asc"), listing(limit=3, order="asc")
        assert (first.has_more, last.has_more) == (True, False)
    before = client.vector_stores.list(before=stores[4], order="asc", limit=1)
    assert ([each.id for each in before.data], before.has_more) == ([stores[3]], True)
    counts = client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=stores[0]).file_counts
    assert (counts.completed, counts.total) == (5, 5)
    with pytest.raises(openai.UnprocessableEntityError):
        client.vector_stores.list(after="no-store")


def test_two_clients_that_make_the_same_store_have_one_each(service: Service) -> None:
    barrier, stores = Barrier(2), service.get("/v1/vector_stores")["data"]

    def create() -> None:
        barrier.wait()
        stores.append(service.post("/v1/vector_stores", {"name": "same"}))

    threads = [Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store["name"] for store in stores] == ["same", "same"]
    names = [store["namespace"] for store in stores]
    assert len({store["id"] for store in stores}) == len(set(names)) == 2
    assert "same" in names
    unnamed = client_of(service).vector_stores.create()
    assert unnamed.name == ""
    assert (unnamed.model_extra or {})["namespace"].startswith("store-")


def test_a_batch_is_what_its_documents_say_in_every_process(service: Service, client: OpenAI) -> None:
    store = client.vector_stores.create().id
    good = upload(client, "Cats sleep.")
    broken = upload(client, b"%PDF-1.4 broken", "broken.pdf")
    files: Any = [{"file_id": good, "attributes": {"n": 1}}, {"file_id": broken}]
    batch = client.vector_stores.file_batches.create(store, files=files)
    headers = {"X-Stainless-Poll-Helper": "true"}
    raw = client.vector_stores.file_batches.with_raw_response
    waiting = raw.retrieve(batch.id, vector_store_id=store, extra_headers=headers).http_response
    assert (waiting.json()["status"], int(waiting.headers["openai-poll-after-ms"]) >= 200) == ("in_progress", True)
    with service.restarted() as other:
        other.work()
        there = client_of(other)
        done = there.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store)
        assert (done.status, done.file_counts.completed, done.file_counts.failed) == ("completed", 1, 1)
        failed = there.vector_stores.files.list(store, filter="failed").data
        assert [(each.id, each.last_error and each.last_error.code) for each in failed] == [(broken, "invalid_file")]
        assert [each.attributes for each in there.vector_stores.files.list(store, filter="completed")] == [{"n": 1}]
    counts = client.vector_stores.retrieve(store).file_counts
    assert (counts.completed, counts.failed, counts.total) == (1, 1, 2)


def test_a_cancelled_batch_ends_and_its_files_stay_out(service: Service, client: OpenAI) -> None:
    store = client.vector_stores.create().id
    batch = client.vector_stores.file_batches.create(store, file_ids=[upload(client, f"Cats {n}.") for n in range(3)])
    ended = client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store)
    assert (ended.status, ended.file_counts.cancelled) == ("cancelled", 3)
    service.work()
    assert hit_files(client, store, "cats") == []
    assert {each.status for each in client.vector_stores.files.list(store)} == {"cancelled"}
    assert client.vector_stores.files.list(store, filter="failed").data == []


def test_a_store_that_nobody_uses_expires_at_once_and_is_emptied(service: Service, client: OpenAI) -> None:
    store = client.vector_stores.create(name="s", expires_after={"anchor": "last_active_at", "days": 1})
    file = attach(client, store.id, "Cats sleep.")
    service.work()
    assert hit_files(client, store.id, "cats") == [file]
    chores = Housekeeping(service.runtime)
    age(service)
    chores.run_due_chores()  # it was used a moment ago, as its documents say
    assert client.vector_stores.retrieve(store.id).status == "completed"
    age(service, by_all_doors=True)
    with service.restarted() as other:  # no process remembers that it was used
        there = client_of(other)
        expired = there.vector_stores.retrieve(store.id)
        assert (expired.status, expired.expires_at and expired.expires_at < utc_now().timestamp()) == ("expired", True)
        with pytest.raises(openai.ConflictError) as refused:
            there.vector_stores.search(store.id, query="cats")
        assert (refused.value.code, refused.value.response.headers["x-should-retry"]) == ("ended", "false")
        assert len(list(there.vector_stores.files.list(store.id))) == 1
        Housekeeping(other.runtime).run_due_chores()
        other.work()
        assert list(there.vector_stores.files.list(store.id)) == []
        assert there.vector_stores.retrieve(store.id).status == "expired"
        revived = there.vector_stores.update(store.id, expires_after={"anchor": "last_active_at", "days": 2})
        assert (revived.status, hit_files(there, store.id, "cats")) == ("completed", [])


def logged(service: Service) -> int:
    with service.runtime.database.read() as session:
        return session.scalars(select(func.count()).select_from(LoggedQuery)).one()


def age(service: Service, *, by_all_doors: bool = False) -> None:
    """Let vector stores say that they were used two days ago; and with *by_all_doors* everything else too."""
    until(lambda: logged(service) == 1)  # written a moment after the answer
    ago = utc_now() - timedelta(days=2)
    with service.runtime.database.write() as session:
        session.execute(update(VectorStoreRow).values(last_active_at=ago, expires_at=ago + timedelta(days=1)))
        if by_all_doors:
            session.execute(update(Doc).values(updated_at=ago))
            session.execute(update(LoggedQuery).values(created_at=ago))


def test_files_and_uploads_whose_time_is_over_are_missing_at_once_and_deleted(service: Service, client: OpenAI) -> None:
    expiry: Any = {"anchor": "created_at", "seconds": 3600}
    file = client.files.create(file=("a.txt", b"Cats sleep."), purpose="assistants", expires_after=expiry).id
    store = client.vector_stores.create(file_ids=[file]).id
    service.work()
    begun = client.uploads.create(bytes=5, filename="a.txt", mime_type="text/plain", purpose="assistants").id
    client.uploads.parts.create(begun, data=b"Cats.")
    with service.runtime.database.write() as session:
        for table in (FileObject, Upload):
            session.execute(update(table).values(expires_at=utc_now() - timedelta(seconds=1)))
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file)
    assert list(client.files.list()) == []
    with pytest.raises(openai.ConflictError, match="expired"):
        client.uploads.parts.create(begun, data=b"Dogs.")
    assert hit_files(client, store, "cats") == [file]
    chores = Housekeeping(service.runtime)
    for chore in chores.chores:
        chore.do()
    assert hit_files(client, store, "cats") == []
    with service.runtime.database.read() as session:
        assert session.scalars(select(FileObject.id)).all() == session.scalars(select(UploadPart.id)).all() == []
        assert session.scalars(select(Team.file_bytes)).one() == 0


def test_an_erased_document_takes_its_file_object_along(service: Service, client: OpenAI, tmp_path: Path) -> None:
    """Nothing of its content is left in any raw file; a deleted vector store leaves its file objects."""
    word = "Quixovarblestone"
    one, other = (client.vector_stores.create(name=name) for name in ("one", "other"))
    files = [upload(client, f"{word} {n} sleeps.", f"{n}.txt") for n in range(3)]
    client.vector_stores.file_batches.create(one.id, file_ids=files[:2])
    client.vector_stores.file_batches.create(other.id, file_ids=files[1:])
    service.work()
    erasure = service.post("/v1/erasures", {**place("one"), "doc_ids": files[:1]}, expect=202)
    service.work()
    receipt = service.get(f"/v1/erasures/{erasure['erasure_id']}")["receipt"]
    erased = {each["store"]: (each["erased"], each["left"]) for each in receipt["stores"]}
    assert (erased["file_objects"], erased["raw_files"]) == ((1, 0), (1, 0))
    assert [each.id for each in client.files.list(order="asc")] == files[1:]
    client.vector_stores.delete(other.id)
    service.work()
    assert [each.id for each in client.files.list(order="asc")] == files[1:]
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.search(other.id, query="cats")
    assert client.vector_stores.create(name="other").model_extra["namespace"] == "other"  # type: ignore[index]
    assert raw_files_with(tmp_path, word) == named(service) != []
    service.client.request("DELETE", f"/v1/teams/{TENANT}", json={"confirm_tenant_id": TENANT})
    service.work()
    assert raw_files_with(tmp_path, word) == named(service) == []


def raw_files_with(folder: Path, word: str) -> list[str]:
    contents = {path: path.read_bytes() for path in (folder / "raw_files").rglob("*") if path.is_file()}
    return sorted(f"{path.parent.name}/{path.name}" for path, content in contents.items() if word.encode() in content)


def named(service: Service) -> list[str]:
    """The raw files that a backup would keep."""
    with service.runtime.database.read() as session:
        return raw_file_names(session)


def test_a_store_that_was_erased_is_missing_though_another_has_its_name(service: Service, client: OpenAI) -> None:
    store = client.vector_stores.create(name="s").id
    attach(client, store, "Cats sleep.")
    service.work()
    assert len(hit_files(client, store, "cats")) == 1  # and is remembered
    service.client.request("DELETE", f"/v1/teams/{TENANT}/projects/s", json={"confirm_namespace": "s"})
    service.post("/v1/docs/upsert", {**place("s"), "doc_id": "new", "text": "Cats sleep."})
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.search(store, query="cats")
    assert hit_files(client, our_store(client, "s"), "cats") == ["new"]
