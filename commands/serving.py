"""Serve an assistant over the standard streams."""

from __future__ import annotations

from typing import Annotated

import typer

from commands.common import Tenant, group, opened

commands = group()


@commands.command()
def mcp(
    context: typer.Context,
    *,
    tenant: Tenant,
    namespace: Annotated[str | None, typer.Option(help="Only this one of the tenant's namespaces.")] = None,
) -> None:
    """Serve MCP over stdin and stdout, for an assistant that starts this command by itself."""
    from services.index.names import check_name

    with opened(context) as runtime:
        for field, name in (("tenant_id", tenant), ("namespace", namespace)):
            if name is not None:
                check_name(field, name, runtime.settings.max_name_chars)
        from api.mcp.server import open_server
        from api.mcp.stdio import local_caller, serve

        runtime.index.embedding.start_loading(warm_up=lambda embedder: embedder.embed_queries(["warm"]))
        caller = local_caller(runtime, tenant, namespace=namespace)
        serve(open_server(lambda _: caller))
