"""The official MCP client, in the event loop of the service under test, and single messages over HTTP."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx2
from fastapi.testclient import TestClient
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from starlette.types import Receive, Scope, Send

from tests.support.service import Service

Result = TypeVar("Result")

GENERATIONS = ("auto", "legacy")
"""How the client connects: by the revision of 2026-07-28, without a handshake, or as all did before."""
ACME = "/mcp?tenant_id=acme"
ACCEPT = {"Accept": "application/json, text/event-stream"}


def converse(
    service: Service,
    talk: Callable[[Client], Awaitable[Result]],
    *,
    mode: str = "auto",
    url: str = ACME,
    headers: Mapping[str, str] | None = None,
) -> Result:
    """What *talk* returns of a conversation with the service, over HTTP and the app's own middlewares."""
    client = service.client

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await client.app({**scope, "state": dict(client.app_state)}, receive, send)

    async def connected() -> Result:
        transport = httpx2.ASGITransport(app=app)
        async with (
            httpx2.AsyncClient(transport=transport, headers=dict(headers or {})) as http,
            Client(streamable_http_client(f"http://testserver{url}", http_client=http), mode=mode) as connection,
        ):
            return await talk(connection)

    assert client.portal is not None
    return client.portal.call(connected)


def message(client: TestClient, method: str, params: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """The response to one message of the older generation, which needs no handshake here."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": dict(params or {})}
    headers = {**ACCEPT, **more.pop("headers", {})}
    return client.post(more.pop("url", ACME), json=body, headers=headers, **more)


def call(client: TestClient, tool: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """What the tool returns; its error's text where it fails."""
    answer = message(client, "tools/call", {"name": tool, "arguments": dict(arguments or {})}, **more)
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    text = result["content"][0]["text"]
    if result["isError"]:
        assert isinstance(text, str)
        return text
    assert json.loads(text) == result["structuredContent"]
    return result["structuredContent"]


def content_of(result: CallToolResult) -> Any:
    """The same of a result of the official client, which must be no error."""
    [content] = result.content
    assert isinstance(content, TextContent)
    assert not result.is_error, content.text
    assert json.loads(content.text) == result.structured_content
    return result.structured_content
