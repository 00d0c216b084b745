"""MCP at /mcp: what an assistant may do with its key, and what it is told when it may not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import TextResourceContents
from sqlalchemy import select

from api.mcp.server import open_server
from api.mcp.stdio import local_caller
from api.mcp.tools import TOOLS
from domain import Scope
from engines.embedders.base import Embedder
from models import ApiKey, utc_now
from tests.support.accounts import TeamClient, issue, make_team
from tests.support.chat_server import chat_server
from tests.support.mcp_client import ACCEPT, ACME, GENERATIONS, call, content_of, converse, message
from tests.support.processes import ROOT, until
from tests.support.service import Service, open_service, settings_in

MOST_TOKENS = 2000
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}
"""What a message of the newer generation carries instead of a handshake."""
SEA = {"doc_id": "sea", "text": "Ships sail the seven seas.", "namespace": "n1"}
READING = {"search", "fetch", "list_namespaces", "list_documents"}
WRITING = {"fetch", "list_namespaces", "list_documents", "add_document", "delete_document", "job_status"}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without keys that every test of this file shares, each with a tenant of its own."""
    with open_service(settings_in(tmp_path_factory.mktemp("open"))) as service:
        yield service


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = settings_in(tmp_path_factory.mktemp("keyed"), auth_mode="keys", auth_failures_per_minute=0)
    with open_service(settings) as service:
        yield service


@pytest.fixture(scope="module")
def acme(keyed: Service) -> TeamClient:
    """A team with one namespace, n1, and a document in it."""
    team = make_team(keyed, "acme")
    team.post(f"{team.own}/projects", {"namespace": "n1"}, expect=201)
    team.post("/v1/docs/upsert", SEA)
    return team


def with_key(key: str) -> dict[str, Any]:
    return {"url": "/mcp", "headers": {"Authorization": f"Bearer {key}"}}


def call_of(tool: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A message that calls *tool*."""
    params = {"name": tool, "arguments": arguments, **more}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def names_of(answer: Any) -> set[str]:
    return {each["name"] for each in answer.json()["result"]["tools"]}


@pytest.mark.parametrize("mode", GENERATIONS)
def test_an_assistant_stores_finds_reads_and_deletes(service: Service, mode: str) -> None:
    text = "\n\n".join(f"Chapter {number}. " + "Ships sail the seven seas. " * 30 for number in range(8))

    async def talk(client: Client) -> None:
        async def use(tool: str, **arguments: Any) -> Any:
            return content_of(await client.call_tool(tool, arguments))

        document = {"doc_id": "a/sea.md", "text": text, "title": "The sea", "metadata": {"year": 1851}}
        first = await use("add_document", **document, namespace="n1")
        assert (first["id"], first["revision"], first["is_unchanged"]) == ("n1/a/sea.md", 1, False)
        again = await use("add_document", **document)
        assert (again["revision"], again["is_unchanged"]) == (1, True)
        [hit] = (await use("search", query="who sails?", top_k=1, filters={"year": {"$gt": 1800}}))["results"]
        assert (hit["id"], hit["title"], hit["doc_id"]) == ("n1/a/sea.md", "The sea", "a/sea.md")
        around = await use("fetch", id=hit["id"], offset=hit["offset"], max_chars=20)
        assert around["text"] == hit["snippet"][:20] and around["metadata"] == {"year": 1851}
        assert "".join([part async for part in _parts(use, hit["id"])]).split() == text.split()
        assert (await use("list_namespaces"))["namespaces"] == [{"namespace": "n1", "documents": 1}]
        assert [each["id"] for each in (await use("list_documents"))["documents"]] == [hit["id"]]
        deletion = await use("delete_document", doc_id="a/sea.md")
        assert (await use("search", query="who sails?"))["results"] == []
        assert (await use("job_status", job_id=deletion["job_id"]))["status"] == "pending"

    converse(service, talk, mode=mode)


async def _parts(use: Any, id: str) -> Any:
    offset: int | None = 0
    while offset is not None:
        read = await use("fetch", id=id, offset=offset, max_chars=1000)
        assert len(read["text"]) <= 1000
        yield read["text"]
        offset = read.get("next_offset")


@pytest.mark.parametrize("mode", GENERATIONS)
def test_a_server_without_http_serves_the_tenant_that_it_was_opened_for(opened: Service, mode: str) -> None:
    call(opened.client, "add_document", SEA, url="/mcp?tenant_id=local")
    server = open_server(lambda _: local_caller(opened.runtime, "local", namespace=None))

    async def talk() -> Any:
        async with Client(server, mode=mode) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == READING | WRITING
            return content_of(await client.call_tool("search", {"query": "ships"}))

    assert asyncio.run(talk())["results"][0]["id"] == "n1/sea"


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("mode", GENERATIONS)
def test_a_key_is_shown_the_tools_of_its_scopes(acme: TeamClient, scope: Scope, mode: str) -> None:
    async def talk(client: Client) -> set[str]:
        return {tool.name for tool in (await client.list_tools()).tools}

    expected = {Scope.SEARCH: READING, Scope.INGEST: WRITING}.get(scope, READING | WRITING)
    assert converse(acme.service, talk, mode=mode, **with_key(acme.keys[scope])) == expected


def test_a_tool_beyond_the_scopes_of_a_key_is_refused_when_it_is_called_all_the_same(acme: TeamClient) -> None:
    reader = with_key(acme.keys[Scope.SEARCH])
    client = acme.service.client
    for tool, arguments in (("add_document", SEA), ("delete_document", SEA), ("job_status", {"job_id": "x"})):
        assert call(client, tool, arguments, **reader) == "This requires a key with the scope ingest."
    assert "sea" in call(client, "search", {"query": "ships"}, **reader)["results"][0]["id"]
    writer = with_key(acme.keys[Scope.INGEST])
    assert call(client, "search", {"query": "ships"}, **writer) == "This requires a key with the scope search."


def test_without_a_valid_key_nothing_is_answered(acme: TeamClient) -> None:
    service, client = acme.service, acme.service.client
    expired, revoked = (issue(service, "acme", Scope.SEARCH) for _ in range(2))
    with service.runtime.database.write() as session:
        session.scalars(select(ApiKey).where(ApiKey.id == expired[4:20])).one().expires_at = utc_now()
    assert message(client, "tools/list", **with_key(revoked)).status_code == 200
    acme.ask("DELETE", f"{acme.own}/api-keys/{revoked[4:20]}", expect=200)
    for headers in ({}, *(with_key(each)["headers"] for each in (expired, revoked, "adf_nothing", "é" * 300))):
        headers = {name: value.encode() for name, value in headers.items()}
        answer = message(client, "tools/list", url="/mcp", headers=headers)
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "key" in answer.json()["detail"]


def test_what_another_team_has_is_answered_like_what_nobody_has(acme: TeamClient) -> None:
    other = make_team(acme.service, "other")
    for namespace in ("n1", "n2"):
        other.post(f"{other.own}/projects", {"namespace": namespace}, expect=201)
    job_id = acme.ask("POST", "/v1/index/rebuild", json={"namespace": "n1"}, expect=200)["job_id"]
    stranger, client = with_key(other.keys[Scope.ADMIN]), acme.service.client
    calls: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("fetch", {"id": "n1/sea"}, {"id": "n1/no1"}),
        ("delete_document", {"doc_id": "sea", "namespace": "n1"}, {"doc_id": "no1", "namespace": "n1"}),
        ("list_documents", {"namespace": "n1"}, {"namespace": "n2"}),
        ("search", {"query": "ships", "namespace": "n1"}, {"query": "ships", "namespace": "n2"}),
        ("job_status", {"job_id": job_id}, {"job_id": "00000000-0000-0000-0000-000000000000"}),
    ]
    for tool, foreign, missing in calls:
        answers = [
            _without(json.dumps(call(client, tool, each, **stranger)), each.values()) for each in (foreign, missing)
        ]
        assert answers[0] == answers[1], tool
    assert "sea" in str(call(client, "fetch", {"id": "n1/sea"}, **with_key(acme.keys[Scope.ADMIN])))
    assert call(client, "list_namespaces", **stranger)["namespaces"] == [
        {"namespace": "n1", "documents": 0},
        {"namespace": "n2", "documents": 0},
    ]


def _without(answer: str, names: Any) -> str:
    for name in names:
        for part in str(name).split("/"):
            answer = answer.replace(part, "…")
    return answer


def test_a_key_that_sees_a_part_finds_lists_and_fetches_no_more(keyed: Service) -> None:
    team = make_team(keyed, "parted")
    for namespace in ("part", "n1"):
        team.post(f"{team.own}/projects", {"namespace": namespace}, expect=201)
    team.post("/v1/docs/upsert", SEA)
    for kind in ("open", "closed"):
        document = {"doc_id": kind, "text": f"The {kind} harbour.", "metadata": {"kind": kind}, "namespace": "part"}
        team.post("/v1/docs/upsert", document)
    limits = {"filters": {"kind": "open"}, "namespaces": ["part"]}
    key = team.post(f"{team.own}/api-keys", {"scopes": ["search"], **limits}, expect=201)["key"]

    async def talk(client: Client) -> None:
        assert {each.name for each in (await client.list_tools()).tools} == READING - {"list_namespaces"}
        hits = content_of(await client.call_tool("search", {"query": "harbour"}))["results"]
        assert {each["doc_id"] for each in hits} == {"open"}
        listed = content_of(await client.call_tool("list_documents", {}))["documents"]
        assert [each["id"] for each in listed] == ["part/open"]
        assert content_of(await client.call_tool("fetch", {"id": "part/open"}))["text"] == "The open harbour."
        for id in ("part/closed", "n1/sea"):
            assert (await client.call_tool("fetch", {"id": id})).is_error
        elsewhere = await client.call_tool("search", {"query": "ships", "namespace": "n1"})
        assert content_of(elsewhere)["results"] == []
        assert "without" in str((await client.call_tool("list_namespaces", {})).content[0])

    converse(team.service, talk, mode="auto", **with_key(key))


def test_a_url_names_a_tenant_only_where_no_key_does(acme: TeamClient, opened: Service) -> None:
    key = with_key(acme.keys[Scope.ADMIN])
    named = {**key, "url": "/mcp?tenant_id=acme"}
    foreign = {**key, "url": "/mcp?tenant_id=nobody"}
    assert call(acme.service.client, "list_namespaces", **named)["namespaces"] != []
    assert call(acme.service.client, "list_namespaces", **foreign)["namespaces"] == []
    assert "There is no document" in call(acme.service.client, "fetch", {"id": "n1/no"}, **named)
    assert "no namespace 'n1'" in call(acme.service.client, "fetch", {"id": "n1/sea"}, **foreign)
    for tool in ("search", "job_status"):
        arguments = {"search": {"query": "ships"}, "job_status": {"job_id": "x"}}[tool]
        assert "/mcp?tenant_id=acme" in call(opened.client, tool, arguments, url="/mcp")


def test_the_namespace_may_be_left_out_if_there_is_only_one_or_the_url_names_it(opened: Service) -> None:
    url, client = "/mcp?tenant_id=one", opened.client
    assert call(client, "search", {"query": "ships"}, url=url) == "Say which namespace of this tenant: it has none yet."
    call(client, "add_document", SEA, url=url)
    assert call(client, "search", {"query": "ships"}, url=url)["results"][0]["id"] == "n1/sea"
    assert call(client, "fetch", {"id": "sea"}, url=url)["id"] == "n1/sea"
    call(client, "add_document", {**SEA, "namespace": "n/2"}, url=url)
    assert "it has 'n/2', 'n1'" in call(client, "search", {"query": "ships"}, url=url)
    [hit] = call(client, "search", {"query": "ships", "namespace": "n/2"}, url=url)["results"]
    assert (hit["id"], call(client, "fetch", {"id": hit["id"]}, url=url)["id"]) == ("n%2F2/sea", "n%2F2/sea")
    pinned = f"{url}&namespace=n1"
    assert call(client, "search", {"query": "ships"}, url=pinned)["results"][0]["id"] == "n1/sea"
    assert "for the namespace 'n1' alone" in call(client, "fetch", {"id": hit["id"]}, url=pinned)
    assert "list_namespaces" not in names_of(message(client, "tools/list", url=pinned))


def test_the_whole_list_of_tools_is_short(tmp_path: Path, bundled_model: Embedder) -> None:
    with chat_server() as llm, open_service(settings_in(tmp_path, llm_base_url=llm.url, llm_model="m")) as service:
        answer = message(service.client, "tools/list")
        assert names_of(answer) == READING | WRITING | {"ask"} == {each.name for each in TOOLS}
        listed = json.dumps(answer.json()["result"]["tools"], separators=(",", ":"))
        assert bundled_model.count_tokens(listed) <= MOST_TOKENS
        for tool in answer.json()["result"]["tools"]:
            assert set(tool["annotations"]) == {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
            assert tool["description"] and tool["inputSchema"]["type"] == "object"

        service.upsert("cats", "Cats sleep all day.", namespace="n1")
        reply = call(service.client, "ask", {"question": "What do cats do?"})
        assert reply["answer"] == "Cats sleep [1]."
        assert [(each["marker"], each["id"]) for each in reply["citations"]] == [("[1]", "n1/cats")]
        llm.moods = ["huge"] * 2
        assert "more than 8 MB" in call(service.client, "ask", {"question": "What do cats do?"})


@pytest.mark.parametrize("mode", GENERATIONS)
def test_a_document_is_a_resource_too(opened: Service, mode: str) -> None:
    url = "/mcp?tenant_id=resources"
    odd = {"namespace": "n/1 %", "doc_id": "a/b c%25é?#.md"}
    call(opened.client, "add_document", {**odd, "text": "Ships sail. " * 2000}, url=url)
    [hit] = call(opened.client, "search", {"query": "ships", "top_k": 1}, url=url)["results"]
    assert call(opened.client, "fetch", {"id": hit["id"]}, url=url)["id"] == hit["id"] == "n%2F1 %25/a/b c%25é?#.md"

    async def talk(client: Client) -> str:
        assert (await client.list_resources()).resources == []
        [template] = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "datafactory://{namespace}/{doc_id}"
        for uri, reason in ((f"{hit['url']}0", "There is no document"), ("file:///etc/passwd", "datafactory://")):
            with pytest.raises(MCPError, match=reason):
                await client.read_resource(uri)
        [content] = (await client.read_resource(hit["url"])).contents
        assert isinstance(content, TextResourceContents)
        return content.text

    text = converse(opened, talk, mode=mode, url=url)
    assert text.startswith("Ships sail. Ships") and text.endswith(
        f"[Cut here: fetch {hit['id']} at offset 20000 reads on.]"
    )


def test_every_tool_and_argument_is_on_the_page() -> None:
    page = (ROOT / "docs" / "mcp.md").read_text()
    names = [name for each in TOOLS for name in (each.name, *each.arguments.model_fields)]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_results_are_bounded(opened: Service) -> None:
    url, client = "/mcp?tenant_id=bounded", opened.client
    metadata = {f"key{number}": "x" * 100 for number in range(100)}
    for number in range(3):
        text = f"Ships {number} sail " + "and sail on and on " * 400
        document = {**SEA, "doc_id": f"d{number}", "text": text, "title": "T" * 1000, "metadata": metadata}
        call(client, "add_document", document, url=url)
    first = call(client, "search", {"query": "ships", "top_k": 2}, url=url)
    assert all(len(each["snippet"]) <= 700 and len(each["title"]) == 200 for each in first["results"])
    second = call(client, "search", {"query": "ships", "top_k": 20, "offset": first["next_offset"]}, url=url)
    seen = [each["chunk_id"] for each in (*first["results"], *second["results"])]
    assert len(seen) == len(set(seen)) > 3
    assert len(call(client, "fetch", {"id": "n1/d0"}, url=url)["text"]) <= 8000
    assert "GET /v1/docs" in str(call(client, "fetch", {"id": "n1/d0"}, url=url)["metadata"])
    page = call(client, "list_documents", {"limit": 2}, url=url)
    rest = call(client, "list_documents", {"limit": 2, "after": page["next_after"]}, url=url)
    assert [each["doc_id"] for each in (*page["documents"], *rest["documents"])] == ["d0", "d1", "d2"]
    assert "next_after" not in rest
    for tool, arguments in (
        ("search", {"query": "ships", "top_k": 21}),
        ("fetch", {"id": "n1/d0", "max_chars": 20_001}),
        ("list_documents", {"limit": 201}),
    ):
        assert "less than or equal to" in call(client, tool, arguments, url=url)


@pytest.mark.parametrize(
    ("tool", "arguments", "reason"),
    [
        ("search", {}, "query: Field required. The arguments of search are: query, namespace"),
        ("search", {"query": "ships", "limit": 3}, "limit: There is no such field"),
        ("search", {"query": ["ships"]}, "query: Input should be a valid string"),
        ("search", {"query": "  "}, "query is empty"),
        ("search", {"query": "x" * 20_000}, "MAX_QUERY_CHARS"),
        ("search", {"query": "ships", "filters": {"year": {"$near": 1}}}, "Unknown operator '$near'"),
        ("search", {"query": "ships", "namespace": "nope"}, "no namespace 'nope'"),
        ("search", {"query": "ships", "namespace": "\x00"}, "NUL character (U+0000)"),
        ("fetch", {"id": ""}, "doc_id is empty"),
        ("fetch", {"id": "n1/\x00"}, "NUL"),
        ("list_documents", {"namespace": "n1", "after": "\x00"}, "NUL"),
        ("delete_document", {"doc_id": "\x00"}, "NUL"),
        ("job_status", {"job_id": "\x00"}, "a NUL character"),
        ("fetch", {"id": "n1/" + "x" * 5000}, "at most"),
        ("add_document", {"doc_id": "a", "namespace": "n1"}, "Send either text or url."),
        ("add_document", {**SEA, "url": "https://example.org/"}, "Send either text or url."),
        ("add_document", {"doc_id": "a", "namespace": "n1", "url": "http://127.0.0.1/"}, "FETCH_ENABLED"),
        ("add_document", {**SEA, "metadata": {"a": "x" * 70_000}}, "metadata"),
        ("job_status", {"job_id": "x"}, "There is no job 'x'"),
        ("list_namespaces", {"limit": 1}, "The arguments of list_namespaces are: none."),
    ],
    ids=str,
)
def test_a_call_that_cannot_be_served_says_why(
    opened: Service, tool: str, arguments: dict[str, Any], reason: str
) -> None:
    call(opened.client, "add_document", SEA)
    answer = opened.client.post(ACME, json=call_of(tool, arguments), headers=ACCEPT)
    if tool == "search" and "nope" in arguments.values():
        result = answer.json()["result"]["structuredContent"]
        assert result["results"] == [] and reason in result["hint"]
        return
    assert answer.json()["result"]["isError"], answer.text
    assert reason in answer.json()["result"]["content"][0]["text"]


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
@pytest.mark.parametrize(
    "body",
    [
        "",
        "not JSON",
        "[" * 100_000,
        '{"a":' * 100_000,
        "[]",
        "7",
        "{}",
        '{"jsonrpc": "2.0", "id": 1, "method": "no/such"}',
        '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "nope"}}',
        '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 7, "arguments": []}}',
        '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "fetch", "arguments": {"id": %s}}}'
        % ("[" * 900 + "]" * 900),
        '{"jsonrpc": "2.0", "id": 9' + "9" * 5000 + ', "method": "ping"}',
    ],
    ids=range(12),
)
def test_what_is_no_message_is_an_error_of_the_client(opened: Service, version: str, body: str) -> None:
    headers = {**ACCEPT, "Content-Type": "application/json", "MCP-Protocol-Version": version}
    answer = opened.client.post(ACME, content=body.encode(), headers=headers)
    assert answer.status_code < 500, answer.text
    assert answer.status_code >= 400 or answer.json().get("error") or answer.json()["result"]["isError"], answer.text
    assert message(opened.client, "ping").status_code == 200


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
@pytest.mark.parametrize("metadata", ['{"a": "\\ud800"}', '{"a": NaN}', '{"a": 1e999}'])
def test_what_is_no_json_value_is_stored_through_neither_generation(
    opened: Service, version: str, metadata: str
) -> None:
    tenant = f"odd-{version}-{ord(metadata[6])}"
    body = json.dumps(call_of("add_document", {**SEA, "doc_id": "odd", "metadata": {}}, _meta=META))
    headers = {**ACCEPT, "Content-Type": "application/json", "MCP-Protocol-Version": version}
    headers |= {"Mcp-Method": "tools/call", "Mcp-Name": "add_document"}

    def send(metadata: str) -> Any:
        content = body.replace('"metadata": {}', f'"metadata": {metadata}').encode()
        return opened.client.post(f"/mcp?tenant_id={tenant}", content=content, headers=headers).json()

    headers["Mcp-Name"] += "  "  # blanks at the ends of a value are no part of it
    answer = send(metadata)
    assert "error" in answer or answer["result"]["isError"], answer
    assert "no" in call(opened.client, "fetch", {"id": "n1/odd"}, url=f"/mcp?tenant_id={tenant}")
    assert send("{}")["result"]["structuredContent"]["revision"] == 1


def test_http_around_the_messages_is_as_on_every_route(opened: Service) -> None:
    client = opened.client
    large = client.post("/mcp", content=b"x" * 10_000_000, headers={"Content-Type": "application/json"})
    assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
    assert "256 KB" in large.json()["detail"]
    values = call_of("search", {"query": "ships", "filters": {"$and": [[]] * 60_000}})
    many = client.post("/mcp", json=values, headers=ACCEPT)
    assert (many.status_code, "too many values" in many.json()["detail"]) == (413, True)
    for method in ("GET", "DELETE", "PUT"):
        answer = client.request(method, "/mcp")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert answer.headers["content-type"] == "application/problem+json"
    assert message(client, "ping", url="/mcp/?tenant_id=acme").status_code == 200
    misspelt = message(client, "ping", url="/mcp?tenant=acme")
    assert (misspelt.status_code, "did you mean tenant_id?" in misspelt.json()["detail"]) == (422, True)
    assert "NUL" in message(client, "ping", url="/mcp?tenant_id=%00").json()["detail"]
    assert message(client, "ping", headers={"Accept": "text/html"}).status_code == 406
    assert message(client, "ping", headers={"X-Request-ID": "mine"}).headers["x-request-id"] == "mine"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:6274", 200),
        ("http://127.0.0.1", 200),
        ("http://[::1]:3000", 200),
        ("https://pages.example", 200),
        ("https://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
def test_a_page_of_a_foreign_origin_may_not_call(tmp_path: Path, origin: str, status: int) -> None:
    with open_service(settings_in(tmp_path, cors_origins="https://pages.example")) as service:
        answer = message(service.client, "ping", headers={"Origin": origin, "Host": "rebound.example"})
        assert answer.status_code == status, answer.text
        assert status == 200 or "CORS_ORIGINS" in answer.json()["detail"]


@pytest.mark.parametrize("mode", GENERATIONS)
def test_the_audit_log_says_which_key_deleted_and_in_which_request(acme: TeamClient, mode: str) -> None:
    acme.post("/v1/docs/upsert", {**SEA, "doc_id": f"gone-{mode}"})
    access = with_key(acme.keys[Scope.INGEST])
    access["headers"]["X-Request-ID"] = f"request-{mode}"

    async def talk(client: Client) -> None:
        content_of(await client.call_tool("delete_document", {"doc_id": f"gone-{mode}"}))

    converse(acme.service, talk, mode=mode, **access)
    [row] = [each for each in acme.get("/v1/audit")["data"] if each["request_id"] == f"request-{mode}"]
    assert (row["action"], row["actor"]) == ("document.deleted", f"key:{acme.keys[Scope.INGEST][4:20]}")


def test_searches_count_in_the_usage(acme: TeamClient) -> None:
    def searches() -> int:
        return sum(each["requests"] for each in acme.get("/v1/usage")["data"] if each["kind"] == "search")

    before = searches()
    call(acme.service.client, "search", {"query": "ships"}, **with_key(acme.keys[Scope.SEARCH]))
    until(lambda: searches() > before)


def test_calls_count_against_the_rate_limit_of_the_key_or_the_tenant(tmp_path: Path) -> None:
    for mode, limit in (("keys", "rate_limit_per_key"), ("open", "rate_limit_per_tenant")):
        with open_service(settings_in(tmp_path, auth_mode=mode, **{limit: "2/minute"})) as service:
            team = make_team(service, f"team-{mode}")
            access = with_key(team.keys[Scope.SEARCH]) if mode == "keys" else {"url": f"/mcp?tenant_id={team.name}"}
            remaining = [message(service.client, "ping", **access).headers["ratelimit-remaining"] for _ in range(2)]
            assert remaining == ["1", "0"]
            refused = message(service.client, "ping", **access)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
            assert int(refused.headers["retry-after"]) > 0


def test_first_requests_at_once_share_what_the_first_one_opens(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path)) as service, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: message(service.client, "ping").status_code, range(6)))
        assert answers == [200] * 6
