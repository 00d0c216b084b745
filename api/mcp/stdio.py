"""MCP over the standard streams of a process, for an assistant that starts it."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp.server import Server
from mcp.server.stdio import stdio_server
from starlette.requests import Request

from api.mcp.calls import ToolCaller, of_tenant
from domain import ANYONE
from runtime.parts import Runtime


def local_caller(runtime: Runtime, tenant_id: str, *, namespace: str | None) -> ToolCaller:
    """Whoever starts the process has the rights of the operator's commands, here within one tenant."""
    return ToolCaller(runtime, of_tenant(ANYONE, tenant_id), _request(), namespace)


def serve(server: Server[Any]) -> None:
    """Until the input ends."""
    asyncio.run(_serve(server))


async def _serve(server: Server[Any]) -> None:
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def _request() -> Request:
    """Stands for the calls where there is no HTTP; nobody disconnects from it."""
    scope: dict[str, Any] = {
        "type": "http",
        "method": "stdio",
        "path": "mcp",
        "query_string": b"",
        "headers": [],
        "server": None,
    }

    async def never() -> Any:
        await asyncio.Event().wait()

    return Request(scope, never)
