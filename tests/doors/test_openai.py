"""OpenAI's files, uploads and vector stores: their own client, unchanged and strict, and our routes beside it."""

from __future__ import annotations

import hashlib

import pytest
from openai import OpenAI

from tests.support.files import pdf
from tests.support.openai_client import client_of, hit_files
from tests.support.service import Service


@pytest.fixture
def client(service: Service) -> OpenAI:
    return client_of(service)


def test_their_client_runs_every_route(service: Service, client: OpenAI) -> None:
    """Each answer is validated by the client, and compared with our OpenAPI document by the service's."""
    note = client.files.create(file=("note.txt", b"Cats sleep all day."), purpose="assistants")
    assert (note.filename, note.bytes, note.purpose, note.status) == ("note.txt", 19, "assistants", "processed")
    assert client.files.retrieve(note.id) == note
    assert client.files.content(note.id).read() == b"Cats sleep all day."
    report = client.files.create(
        file=("report.pdf", pdf()), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert report.expires_at == report.created_at + 3600
    assert [each.id for each in client.files.list()] == [report.id, note.id]
    assert [each.id for each in client.files.list(purpose="assistants", order="asc", limit=1)] == [note.id]

    whole = client.uploads.create(bytes=30, filename="dogs.txt", mime_type="text/plain", purpose="assistants")
    second = client.uploads.parts.create(whole.id, data=b"bark all night.")
    first = client.uploads.parts.create(whole.id, data=b"Dogs in parts, ")
    md5 = hashlib.md5(b"Dogs in parts, bark all night.").hexdigest()
    completed = client.uploads.complete(whole.id, part_ids=[first.id, second.id], md5=md5)
    assert completed.status == "completed" and completed.file is not None
    assert client.files.content(completed.file.id).read() == b"Dogs in parts, bark all night."
    other = client.uploads.create(bytes=30, filename="dogs.txt", mime_type="text/plain", purpose="assistants")
    assert client.uploads.cancel(other.id).status == "cancelled"

    store = client.vector_stores.create(
        name="animals", metadata={"of": "cats"}, expires_after={"anchor": "last_active_at", "days": 7}
    )
    assert (store.name, store.status, store.file_counts.total) == ("animals", "completed", 0)
    assert store.expires_at == store.created_at + 7 * 86400
    attached = client.vector_stores.files.create(
        store.id,
        file_id=note.id,
        attributes={"year": 2025, "kind": "note", "is_new": True},
        chunking_strategy={"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}},
    )
    assert (attached.status, attached.id) == ("in_progress", note.id)
    assert client.vector_stores.retrieve(store.id).status == "in_progress"
    service.work()
    attached = client.vector_stores.files.poll(note.id, vector_store_id=store.id)
    assert (attached.status, attached.last_error) == ("completed", None)
    assert attached.attributes == {"year": 2025, "kind": "note", "is_new": True}
    assert attached.chunking_strategy is not None and attached.chunking_strategy.type == "static"
    page = client.vector_stores.search(store.id, query="Who sleeps?", max_num_results=3)
    assert [(hit.file_id, hit.filename, hit.content[0].text) for hit in page.data] == [
        (note.id, "note.txt", "Cats sleep all day.")
    ]
    assert page.data[0].attributes == attached.attributes

    batch = client.vector_stores.file_batches.create(store.id, file_ids=[report.id, completed.file.id])
    assert (batch.status, batch.file_counts.in_progress) == ("in_progress", 2)
    service.work()
    batch = client.vector_stores.file_batches.poll(batch.id, vector_store_id=store.id)
    assert (batch.status, batch.file_counts.completed, batch.file_counts.total) == ("completed", 2, 2)
    files = list(client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id, limit=1))
    assert [each.id for each in files] == [completed.file.id, report.id]
    assert client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id).status == "completed"
    ids = [each.id for each in client.vector_stores.files.list(store.id, filter="completed", order="asc", limit=2)]
    assert ids == [note.id, report.id, completed.file.id]
    changed = client.vector_stores.files.update(note.id, vector_store_id=store.id, attributes={"year": 2026})
    assert changed.attributes == {"year": 2026}
    content = client.vector_stores.files.content(note.id, vector_store_id=store.id)
    assert [part.text for part in content] == ["Cats sleep all day."]
    deleted = client.vector_stores.files.delete(note.id, vector_store_id=store.id)
    assert (deleted.deleted, hit_files(client, store.id, "Who sleeps?").count(note.id)) == (True, 0)
    assert client.files.retrieve(note.id).id == note.id

    renamed = client.vector_stores.update(store.id, name="beasts", metadata=None, expires_after=None)
    assert (renamed.name, renamed.metadata, renamed.expires_after) == ("beasts", {}, None)
    assert [each.id for each in client.vector_stores.list()] == [store.id]
    assert client.vector_stores.delete(store.id).deleted
    assert client.files.delete(note.id).deleted
    assert [each.id for each in client.files.list(order="asc")] == [report.id, completed.file.id]
