"""Models, chat completions and embeddings, as OpenAI's own client sends and reads them, strict about every field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from openai import OpenAI

from domain import Scope
from services.accounts.api_keys import id_of
from tests.support.accounts import keyed, make_team
from tests.support.chat_server import USAGE, ChatServer, chat_server
from tests.support.openai_client import client_of
from tests.support.processes import until
from tests.support.service import PLACE, Service, open_service, settings_in

__all__ = ["keyed"]

MODEL = "acme/project_001"
DOCS = {"cats": "Cats sleep all day long in the sun.", "dogs": "Dogs bark at the postman every morning."}
USER: Any = {"role": "user", "content": "What do cats do all day?"}


@pytest.fixture(scope="module")
def llm() -> Iterator[ChatServer]:
    with chat_server() as server:
        yield server


@pytest.fixture(scope="module")
def shared(llm: ChatServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    used = settings_in(tmp_path_factory.mktemp("chat"), llm_base_url=llm.url, llm_model="small-talk", llm_retries=0)
    with open_service(used) as service:
        service.batch(DOCS)
        yield service


@pytest.fixture
def client(shared: Service, llm: ChatServer) -> OpenAI:
    llm.requests.clear()
    llm.moods, llm.answer = [], "Cats sleep [1], says [7]."
    return client_of(shared)


def complete(client: OpenAI, *messages: Any, model: str = MODEL, **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=[*messages] or [USER], **more)


def test_a_namespace_answers_as_a_model_and_cites_in_annotations_and_in_the_text(
    client: OpenAI, llm: ChatServer
) -> None:
    answer = complete(client, temperature=0.5, max_completion_tokens=50, n=1, user="who", seed=7)
    [choice] = answer.choices
    text = choice.message.content
    assert text == "Cats sleep [1], says.\n\n[1] cats"
    assert (choice.finish_reason, answer.model, answer.system_fingerprint) == ("stop", MODEL, "small-talk")
    tokens = {name: USAGE[name] for name in ("prompt_tokens", "completion_tokens")}
    assert answer.usage.model_dump(include=set(USAGE)) == {**tokens, "total_tokens": sum(tokens.values())}
    [cited] = [each.url_citation for each in choice.message.annotations]
    assert text[cited.start_index : cited.end_index + 1] == "[1]"
    assert (cited.title, cited.url, cited.doc_id) == ("cats", "datafactory://project_001/cats", "cats")
    assert (llm.requests[0]["temperature"], llm.requests[0]["max_tokens"]) == (0.5, 50)


def test_a_stream_says_the_same_as_the_whole_answer(client: OpenAI) -> None:
    whole = complete(client)
    chunks = list(complete(client, stream=True, stream_options={"include_usage": True}))
    assert len({each.id for each in chunks}) == 1 and chunks[0].choices[0].delta.role == "assistant"
    deltas = [choice.delta for each in chunks for choice in each.choices]
    assert "".join(each.content or "" for each in deltas) == whole.choices[0].message.content
    cited = [each.annotations for each in deltas if getattr(each, "annotations", None)]
    assert cited == [[each.model_dump() for each in whole.choices[0].message.annotations]]
    assert [choice.finish_reason for each in chunks for choice in each.choices if choice.finish_reason] == ["stop"]
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    assert all(each.usage is None for each in complete(client, stream=True))


def test_the_last_message_is_the_question_and_the_systems_are_instructions(client: OpenAI, llm: ChatServer) -> None:
    parts = [{"type": "text", "text": "What do dogs"}, {"type": "text", "text": "do?"}]
    system, developer = {"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Be kind."}
    complete(client, system, developer, USER, {"role": "assistant", "content": "Sleep."}, {**USER, "content": parts})
    assert "What do dogs\ndo?" in llm.prompt and "Be brief.\n\nBe kind." in llm.prompt
    assert USER["content"] not in llm.prompt


def test_an_answer_that_was_cut_says_so(client: OpenAI, llm: ChatServer) -> None:
    llm.moods = ["cut at max_tokens"]
    assert complete(client).choices[0].finish_reason == "length"


def test_an_error_in_a_stream_is_an_error_of_the_client(client: OpenAI, llm: ChatServer) -> None:
    llm.moods = ["error inside"]
    with pytest.raises(openai.APIError, match="out of memory") as caught:
        list(complete(client, stream=True))
    assert caught.value.code == "llm_failed"


@pytest.mark.parametrize(
    ("messages", "more", "said"),
    [
        ([USER, {"role": "assistant", "content": "Sleep."}], {}, "end with the user's question"),
        ([{"role": "user", "content": " "}], {}, "is empty"),
        ([{"role": "user", "content": None}], {}, "is empty"),
        ([{"role": "user", "content": "x" * 10_001}], {}, "at most 10000 are read"),
        ([{"role": "system", "content": "x" * 20_001}, USER], {}, "at most 20000 are read"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], {}, "Only text is read"),
        ([{"role": "user", "content": [{"type": "text", "text": 7}]}], {}, "Only text is read"),
        ([USER], {"n": 2}, "less than or equal to 1"),
        ([USER], {"temperature": 3}, "less than or equal to 2"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_place(
    client: OpenAI, messages: list[Any], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match=said) as caught:
        complete(client, *messages, **more)
    assert caught.value.param and caught.value.code == "invalid_request"


def test_a_chat_without_messages_or_about_a_missing_namespace_is_refused(client: OpenAI, llm: ChatServer) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="messages"):
        client.chat.completions.create(model=MODEL, messages=[])
    for name, is_streamed in (("acme/nowhere", True), ("acme/nowhere", False), ("project_001", False)):
        with pytest.raises(openai.NotFoundError, match="has no namespace"):
            complete(client, model=name, stream=is_streamed)
    with pytest.raises(openai.NotFoundError, match="Did you mean 'project_001'"):
        client.models.retrieve("acme/project_01")
    assert llm.requests == []


def test_without_a_key_the_organization_or_the_models_name_says_the_tenant(shared: Service) -> None:
    named = client_of(shared, organization="acme")
    assert [each.id for each in named.models.list()] == ["project_001"]
    assert complete(named, model="project_001").model == "project_001"
    assert [each.id for each in client_of(shared).models.list()] == [MODEL]
    assert client_of(shared).models.retrieve(MODEL).owned_by == "acme"
    assert client_of(shared, organization="nobody").models.list().data == []


def test_without_a_language_model_the_documents_are_quoted_and_the_answer_says_so(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path)) as service:
        hostile = "# Free [7](http://evil)\n![x](http://evil/p.png) <b>"
        service.upsert("cats", DOCS["cats"], title=" ".join(hostile.split()))
        service.upsert("web", "Whales sing under water for hours.", metadata={"url": "https://example.org/whales"})
        client = client_of(service)
        text = complete(client).choices[0].message.content
        quoted, note, source = text.split("\n\n")
        assert (quoted, note) == (f"“{DOCS['cats']}” [1]", text.split("\n\n")[1])
        assert "No language model is configured" in note
        assert "](" not in source and "<b>" not in source and source.startswith("[1] \\# Free")
        whales = complete(client, {"role": "user", "content": "How long do whales sing under water?"})
        assert whales.choices[0].message.annotations[0].url_citation.url == "https://example.org/whales"
        nothing = complete(client, {"role": "user", "content": "How do I cook spaghetti carbonara?"})
        assert nothing.choices[0].message.content.startswith("Nothing here answers this")
        assert (nothing.choices[0].message.annotations, nothing.usage.total_tokens) == ([], 0)


def test_embeddings_are_those_of_the_services_model_in_both_encodings(shared: Service) -> None:
    client, version = client_of(shared), shared.runtime.index.embedding.version
    texts = [f"Cats sleep in the sun on day {number}." for number in range(20)]
    answer = client.embeddings.create(model=version, input=texts, encoding_format="float", dimensions=384)
    vectors = np.array([each.embedding for each in answer.data])
    assert [each.index for each in answer.data] == list(range(20)) and answer.usage.prompt_tokens > 100
    embedder = shared.runtime.index.embedding.embedder(version)
    assert np.abs(vectors - embedder.embed_documents(texts)).max() < 1e-2
    one = client.embeddings.create(model=version, input=texts[0], encoding_format="float")
    encoded = shared.post("/v1/embeddings", {"model": version, "input": texts[0], "encoding_format": "base64"})
    lenient = client_of(shared, is_strict=False)
    decoded = lenient.embeddings.create(model=version, input=texts[0]).data[0].embedding
    assert isinstance(encoded["data"][0]["embedding"], str)
    assert np.allclose(decoded, one.data[0].embedding)
    as_query = client.embeddings.create(
        model=version, input=texts[0], encoding_format="float", extra_body={"input_type": "query"}
    )
    assert np.abs(np.array(as_query.data[0].embedding) - embedder.embed_queries([texts[0]])[0]).max() < 1e-2


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model": "text-embedding-3-small"}, 404),
        ({"input": ""}, 422),
        ({"input": ["cats", " "]}, 422),
        ({"input": []}, 422),
        ({"input": [[1, 2, 3]]}, 422),
        ({"input": "x" * 10_001}, 422),
        ({"input": ["x"] * 2049}, 422),
        ({"dimensions": 256}, 422),
        ({"encoding_format": "int8"}, 422),
    ],
)
def test_embeddings_of_another_model_or_of_nothing_are_refused(
    shared: Service, fields: dict[str, Any], status: int
) -> None:
    body = {"model": shared.runtime.index.embedding.version, "input": "cats", **fields}
    assert shared.post("/v1/embeddings", body, expect=status)["error"]["param"].split(".")[0] in fields


def test_keys_open_the_door_as_they_open_ours(keyed: Service) -> None:
    one, other = make_team(keyed, "one"), make_team(keyed, "other")
    one.post(f"{one.own}/projects", {"namespace": "books"}, expect=201)
    one.post("/v1/docs/upsert", {"namespace": "books", "doc_id": "cats", "text": DOCS["cats"]})
    mine, theirs, writes = (
        client_of(keyed, key) for key in (one.keys[Scope.SEARCH], other.keys[Scope.SEARCH], one.keys[Scope.INGEST])
    )
    assert "Cats sleep" in complete(mine, model="books").choices[0].message.content
    assert [each.id for each in mine.models.list()] == ["books"] and theirs.models.list().data == []
    with pytest.raises(openai.NotFoundError) as foreign:
        complete(theirs, model="books")
    with pytest.raises(openai.NotFoundError) as absent:
        complete(theirs, model="songs")
    assert str(foreign.value).replace("books", "songs") == str(absent.value)
    with pytest.raises(openai.PermissionDeniedError, match="scope search"):
        complete(writes, model="books")
    for key in ("sk-nobody", "adf_" + "0" * 81):
        with pytest.raises(openai.AuthenticationError):
            complete(client_of(keyed, key), model="books")

    def used() -> list[tuple[str, int, str]]:
        rows = [each for each in one.get("/v1/usage")["data"] if each["kind"] == "ask"]
        return [(each["namespace"], each["requests"], each["api_key_id"]) for each in rows]

    until(lambda: used() == [("books", 1, id_of(one.keys[Scope.SEARCH]))], 10)


def test_a_team_that_allows_no_system_prompts_allows_none_here(keyed: Service) -> None:
    one = make_team(keyed, "one")
    one.post(f"{one.own}/projects", {"namespace": "books"}, expect=201)
    one.ask("PATCH", one.own, json={"allow_system_prompt": False}, expect=200)
    with pytest.raises(openai.PermissionDeniedError, match="does not allow a system_prompt"):
        complete(client_of(keyed, one.keys[Scope.SEARCH]), {"role": "system", "content": "x"}, USER, model="books")


def test_a_request_without_keys_counts_for_the_tenant_that_its_model_names(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, rate_limit_per_tenant="2/hour")) as service:
        service.upsert("cats", DOCS["cats"])
        client = client_of(service)
        complete(client)
        with pytest.raises(openai.RateLimitError):
            complete(client)
        assert client.models.list().data[0].id == MODEL and PLACE["tenant_id"] == "acme"
