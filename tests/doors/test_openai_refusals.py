"""What OpenAI's client is told when something is wrong: the right exception, in the form that it reads."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import OpenAI

from domain import Scope
from tests.support.accounts import keyed, make_team
from tests.support.openai_client import client_of, hit_files, upload
from tests.support.service import Service

__all__ = ["keyed"]

NO_STORE = "vs_0000000100000000000000aa"


@pytest.fixture
def client(service: Service) -> OpenAI:
    return client_of(service)


def test_keys_open_what_their_scopes_say_and_their_own_team_alone(keyed: Service) -> None:
    one, other = make_team(keyed, "one"), make_team(keyed, "other")
    revoked = one.post(f"{one.own}/api-keys", {"scopes": ["admin"]}, expect=201)
    assert one.ask("DELETE", f"{one.own}/api-keys/{revoked['key_id']}").status_code < 300
    admin, search = client_of(keyed, one.keys[Scope.ADMIN]), client_of(keyed, one.keys[Scope.SEARCH])
    ingest = client_of(keyed, one.keys[Scope.INGEST], organization="another")
    store = admin.vector_stores.create(name="s").id
    file = upload(ingest, "Cats sleep.")
    ingest.vector_stores.files.create(store, file_id=file)
    keyed.work()
    assert hit_files(search, store, "cats") == [file]
    refused: list[tuple[Any, type[openai.APIStatusError], str]] = [
        (lambda: client_of(keyed, "sk-wrong").files.list(), openai.AuthenticationError, "invalid_api_key"),
        (lambda: client_of(keyed, revoked["key"]).files.list(), openai.AuthenticationError, "invalid_api_key"),
        (lambda: upload(search, "Dogs."), openai.PermissionDeniedError, "forbidden"),
        (lambda: ingest.vector_stores.create(name="t"), openai.PermissionDeniedError, "forbidden"),
        (lambda: ingest.vector_stores.delete(store), openai.PermissionDeniedError, "forbidden"),
    ]
    stranger = client_of(keyed, other.keys[Scope.ADMIN])
    own = stranger.vector_stores.create(name="own").id
    refused += [
        (call, openai.NotFoundError, "not_found")
        for call in (
            lambda: stranger.files.retrieve(file),
            lambda: stranger.files.content(file),
            lambda: stranger.files.delete(file),
            lambda: stranger.vector_stores.search(store, query="cats"),
            lambda: stranger.vector_stores.files.create(own, file_id=file),
            lambda: stranger.vector_stores.file_batches.create(own, file_ids=[file]),
            lambda: stranger.vector_stores.create(file_ids=[file]),
        )
    ]
    for call, kind, code in refused:
        with pytest.raises(kind) as error:
            call()
        assert (error.value.code, bool(error.value.message)) == (code, True)
    assert (list(stranger.files.list()), len(list(stranger.vector_stores.list()))) == ([], 1)
    assert hit_files(search, store, "cats") == [file]


def test_without_keys_the_organization_is_the_tenant(service: Service) -> None:
    one, other = (client_of(service, organization=name) for name in ("one", "other"))
    store = one.vector_stores.create(name="s").id
    with pytest.raises(openai.NotFoundError):
        other.vector_stores.retrieve(store)
    assert list(other.vector_stores.list()) == list(client_of(service).vector_stores.list()) == []
    assert service.get("/v1/teams/one/projects")["data"][0]["namespace"] == "s"


def test_a_key_of_idempotency_is_the_organizations_own(service: Service) -> None:
    key = {"Idempotency-Key": "once"}
    one, other = (client_of(service, organization=name, default_headers=key) for name in ("one", "other"))
    first, again, third = (each.vector_stores.create(name="s").id for each in (one, one, other))
    assert (first == again, first == third) == (True, False)
    assert (one.vector_stores.retrieve(first).name, other.vector_stores.retrieve(third).name) == ("s", "s")


def test_requests_are_limited_by_organization(service: Service) -> None:
    with service.restarted(rate_limit_per_tenant="2/minute") as limited:
        one, other = (client_of(limited, organization=name) for name in ("one", "other"))
        assert [list(one.files.list()), list(one.vector_stores.list())] == [[], []]
        with pytest.raises(openai.RateLimitError) as refused:
            one.files.list()
        assert (refused.value.code, list(other.files.list())) == ("rate_limited", [])


def test_a_file_batch_is_refused_as_a_whole(client: OpenAI) -> None:
    store = client.vector_stores.create().id
    file = upload(client, "Cats sleep.")
    bad: list[tuple[dict[str, Any], type[openai.APIStatusError], str]] = [
        ({"file_ids": [file] * 2001}, openai.UnprocessableEntityError, "file_ids"),
        ({"files": [{"file_id": file}] * 2001}, openai.UnprocessableEntityError, "files"),
        ({"file_ids": [file], "files": [{"file_id": file}]}, openai.UnprocessableEntityError, "file_ids"),
        ({"file_ids": [file, "file-none"]}, openai.NotFoundError, "file_id"),
        ({"file_ids": [file], "attributes": {str(n): n for n in range(17)}}, openai.APIStatusError, "attributes"),
        ({"file_ids": [file], "attributes": {"a": [1]}}, openai.UnprocessableEntityError, "attributes"),
        ({"file_ids": [file], "attributes": {"a": "x" * 513}}, openai.UnprocessableEntityError, "attributes"),
    ]
    overlap: Any = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 51}}
    bad.append(
        ({"file_ids": [file], "chunking_strategy": overlap}, openai.UnprocessableEntityError, "chunking_strategy")
    )
    for body, kind, param in bad:
        with pytest.raises(kind) as error:
            client.vector_stores.file_batches.create(store, **body)
        assert error.value.param is not None and error.value.param.startswith(param), body
    assert client.vector_stores.retrieve(store).file_counts.total == 0
    assert client.vector_stores.file_batches.create(store, file_ids=[file] * 2000).file_counts.total == 1


def test_what_newer_clients_send_is_ignored_and_words_are_not_guessed(client: OpenAI) -> None:
    store = client.vector_stores.create(
        extra_body={"embedding_model": "new", "provider_id": "x"}, extra_query={"a": 1}
    ).id
    assert client.vector_stores.list(extra_query={"include": "more"}).data[0].id == store
    for call in (
        lambda: client.files.create(file=("a.txt", b"Cats."), purpose="other"),  # type: ignore[arg-type]
        lambda: client.vector_stores.files.list(store, filter="done"),  # type: ignore[arg-type]
        lambda: client.vector_stores.list(order="up"),  # type: ignore[arg-type]
        lambda: client.vector_stores.create(expires_after={"anchor": "created_at", "days": 1}),  # type: ignore[arg-type]
        lambda: client.files.create(file=("a.txt", b""), purpose="assistants"),
    ):
        with pytest.raises(openai.UnprocessableEntityError) as error:
            call()
        assert error.value.message
    evals = client.files.create(file=("a.txt", b"Cats."), purpose="evals")  # a reply may not say so
    assert (evals.purpose, len(client.files.list(purpose="evals").data)) == ("user_data", 1)


def test_an_upload_takes_its_parts_in_the_order_that_completes_it(service: Service, client: OpenAI) -> None:
    content = b"Cats sleep all day, and dogs bark. " * 40
    whole = client.uploads.upload_file_chunked(
        file=content, filename="a.txt", bytes=len(content), mime_type="text/plain", purpose="assistants", part_size=500
    )
    assert whole.file is not None
    assert client.files.content(whole.file.id).read() == content
    begun = client.uploads.create(bytes=10, filename="a.txt", mime_type="text/plain", purpose="assistants").id
    parts = [client.uploads.parts.create(begun, data=data).id for data in (b"Cats ", b"sleep")]
    wrong: list[dict[str, Any]] = [
        {"part_ids": parts[:1]},
        {"part_ids": [*parts, "part_none"]},
        {"part_ids": parts * 2},
        {"part_ids": parts, "md5": "0" * 32},
    ]
    for each in wrong:
        with pytest.raises(openai.UnprocessableEntityError):
            client.uploads.complete(begun, **each)
    with pytest.raises(openai.UnprocessableEntityError):
        client.uploads.parts.create(begun, data=b"x" * 11)  # more than twice what was announced
    done = client.uploads.complete(begun, part_ids=parts)
    again = client.uploads.complete(begun, part_ids=parts)  # as a client does that missed the answer
    assert done.file == again.file
    patient = client_of(service, max_retries=2)
    with pytest.raises(openai.ConflictError) as ended:
        patient.uploads.cancel(begun)
    assert (ended.value.code, ended.value.response.headers["x-should-retry"]) == ("ended", "false")
    assert ended.value.response.request.headers["x-stainless-retry-count"] == "0"
    with pytest.raises(openai.APIStatusError) as too_large:
        client.uploads.create(bytes=2**40, filename="a", mime_type="text/plain", purpose="assistants")
    assert (too_large.value.status_code, too_large.value.param) == (413, "bytes")


def test_files_count_against_the_quota_of_bytes(service: Service) -> None:
    with service.restarted(quota_bytes=100) as limited:
        client = client_of(limited)
        first = upload(client, "x" * 60)
        with pytest.raises(openai.APIStatusError) as refused:
            upload(client, "y" * 60)
        assert (refused.value.status_code, refused.value.code) == (413, "quota_exceeded")
        begun = client.uploads.create(bytes=60, filename="a.txt", mime_type="text/plain", purpose="assistants").id
        with pytest.raises(openai.APIStatusError, match="60 are used"):
            client.uploads.parts.create(begun, data=b"z" * 60)
        assert limited.get("/v1/usage/quota", {"tenant_id": "default"})["bytes"]["used"] == 60
        client.files.delete(first)
        assert len(client.files.list().data) == 0
        upload(client, "y" * 60)
