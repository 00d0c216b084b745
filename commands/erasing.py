"""Erasures: erasing for good, the receipts, and checking them without the service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.common import Tenant, failed, group, opened, plain_errors, say, show_table

if TYPE_CHECKING:
    from runtime.parts import Runtime
    from services.erasure.requests import AcceptedErasure

commands = group()


@commands.command()
def erase(
    context: typer.Context,
    *,
    tenant: Tenant,
    namespace: Annotated[str | None, typer.Option(help="Only in this namespace.")] = None,
    doc_id: Annotated[list[str] | None, typer.Option(help="A document; may be repeated.")] = None,
    filters: Annotated[str | None, typer.Option(metavar="JSON", help="The documents that a filter matches.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All documents.")] = False,
    whole_namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="The namespace itself, confirmed by its name.")
    ] = None,
    whole_tenant: Annotated[
        str | None, typer.Option(metavar="NAME", help="The tenant itself, confirmed by its name.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Stays in the receipt: no personal data.")] = None,
) -> None:
    """Erase documents, a namespace or a tenant for good. A worker does it; prints the ids of erasure and job."""
    with opened(context) as runtime:
        accepted = _accept(
            runtime,
            tenant,
            namespace,
            whole_namespace=whole_namespace,
            whole_tenant=whole_tenant,
            what={
                "doc_ids": doc_id or None,
                "filters": _parsed(filters),
                "everything": everything,
            },
            reason=reason,
        )
    say(f"erasure {accepted.erasure_id}" + (f", job {accepted.job_id}" if accepted.job_id else ", complete"))


@commands.command()
def erasures(
    context: typer.Context,
    *,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    receipt: Annotated[str | None, typer.Option(metavar="ID", help="Print the receipt of this erasure.")] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all receipts, as a chain, for verify-receipt.")
    ] = None,
) -> None:
    """List the erasures, the newest first; or print or export receipts."""
    from services.erasure.ledger import describe

    with opened(context) as runtime:
        ledger = runtime.erasure.ledger
        if receipt is not None:
            info = ledger.get(receipt, tenant_id=tenant)
            if info.receipt is None:
                raise failed(f"The erasure {receipt} is not complete: it is {info.status}.")
            say(json.dumps(info.receipt, indent=1, ensure_ascii=False))
        elif export is not None:
            chain = ledger.export()
            export.write_text(json.dumps(chain, indent=1, ensure_ascii=False))
            say(f"{len(chain['receipts'])} receipts in {export}")
        else:
            rows = describe(ledger.page(limit=limit, tenant_id=tenant))
            show_table(["number", "erasure", "of", "status", "asked for at (UTC)"], rows)


@commands.command(name="verify-receipt")
def verify_receipt(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A receipt, or the chain of erasures --export.")],
    *,
    public_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Only accept this key: itself, or its fingerprint.")
    ] = None,
) -> None:
    """Check the signature of a receipt, or of a chain that none is missing. Needs no service and no network."""
    from services.erasure.receipts import fingerprint, verify_ledger
    from services.erasure.receipts import verify_receipt as verify

    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise failed(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise failed(f"{file} is neither a receipt nor a chain of receipts.")
    with plain_errors():
        if "receipts" in content:
            count = verify_ledger(content, public_key=public_key)
            say(f"valid: a chain of {count} receipts, signed with key {fingerprint(content['head']['public_key'])}")
            return
        verify(content, public_key=public_key)
    key = fingerprint(content["public_key"])
    say(f"valid: receipt {content['number']} of {content['finished_at']}, signed with key {key}")
    if public_key is None:
        say("Compare the key's fingerprint with the one that the operator has published (--public-key).")


def _accept(
    runtime: Runtime,
    tenant: str,
    namespace: str | None,
    *,
    whole_namespace: str | None,
    whole_tenant: str | None,
    what: dict[str, Any],
    reason: str | None,
) -> AcceptedErasure:
    from services.erasure.requests import MANAGE, ErasureRequest

    requests = runtime.erasure.requests
    if whole_tenant is not None:
        return requests.accept_tenant(tenant, confirmed=whole_tenant, reason=reason, requested_by=MANAGE)
    if whole_namespace is not None:
        if namespace is None:
            raise failed("Name the namespace twice: as --namespace and as --whole-namespace.")
        return requests.accept_namespace(
            tenant, namespace, confirmed=whole_namespace, reason=reason, requested_by=MANAGE
        )
    return requests.accept(ErasureRequest(tenant_id=tenant, namespace=namespace, reason=reason, **what))


def _parsed(filters: str | None) -> Any:
    if filters is None:
        return None
    try:
        return json.loads(filters)
    except ValueError as error:
        raise failed(f"--filters is not valid JSON: {error}") from error
