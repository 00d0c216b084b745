"""Indexes: statistics, rebuild, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from commands.common import Namespace, Tenant, failed, group, opened, say, show_table, wait_for
from domain import JobStatus

if TYPE_CHECKING:
    from services.index.verifying import Verdict

TO_WRITE = "The first search of a namespace, or manage.py rebuild, queues the job, and a worker writes them."

commands = group()


@commands.command()
def stats(
    context: typer.Context,
    *,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Only this namespace.")] = None,
) -> None:
    """Show the indexes, and the number of jobs."""
    with opened(context) as runtime:
        indexes = runtime.operations.observing.index_stats(tenant_id=tenant, namespace=namespace)
        jobs = runtime.queue.stats()
    rows = [
        (
            f"{each.tenant_id}/{each.namespace}",
            each.embedding_version,
            each.live_docs,
            each.ntotal,
            each.checkpoint_ntotal,
            f"{each.covered_seq}/{each.seq}",
            each.problem or "",
        )
        for each in indexes
    ]
    show_table(["namespace", "embedding version", "docs", "chunks", "in checkpoint", "covers seq", "problem"], rows)
    say("jobs: " + ", ".join(f"{count} {status}" for status, count in jobs.items()))


@commands.command()
def rebuild(
    context: typer.Context,
    *,
    tenant: Tenant,
    namespace: Namespace,
    reembed: Annotated[
        bool, typer.Option("--reembed", help="Compute the vectors anew, with the current model.")
    ] = False,
    new_embedding_version: Annotated[
        str | None, typer.Option(help="With --reembed: the name of the new version.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the job has ended.")] = False,
) -> None:
    """Queue a rebuild of a namespace's index for a worker, and print the job's id."""
    with opened(context) as runtime:
        job_id = runtime.ingest.jobs.rebuild(tenant, namespace, reembed=reembed, new_version=new_embedding_version)
        say(job_id)
        if wait:
            job = wait_for(runtime, job_id, label="rebuild")
            say(f"{job.status}" + (f": {job.error}" if job.error else ""))
            if job.status != JobStatus.COMPLETED:
                raise typer.Exit(1)


@commands.command()
def verify(context: typer.Context) -> None:
    """Compare database, checkpoint and tail of every namespace. Changes nothing.

    An index file that is not there, as after a restore, is no problem: it is to be written.
    """
    with opened(context) as runtime:
        verdicts = [_shown(verdict) for verdict in runtime.index.verifying.verify()]
    unwritten = sum(len(verdict.unwritten) for verdict in verdicts)
    if unwritten:
        say(f"{unwritten} index files or tables to be written: no damage. {TO_WRITE}")
    places = {(verdict.tenant_id, verdict.namespace) for verdict in verdicts}
    bad = {(verdict.tenant_id, verdict.namespace) for verdict in verdicts if verdict.problems}
    if bad:
        raise failed(f"{len(bad)} of {len(places)} namespaces have problems.")
    say(f"{len(places)} namespaces clean")


def _shown(verdict: Verdict) -> Verdict:
    sign = "PROBLEM" if verdict.problems else "ok"
    contents = f"{verdict.live_docs} docs, {verdict.live_chunks} chunks"
    index = f"{verdict.checkpoint_chunks} in the checkpoint, {verdict.tail_changes} changes since"
    beside = "" if verdict.is_serving else f", beside it {verdict.embedding_version}"
    say(f"{sign:8}{verdict.tenant_id}/{verdict.namespace}{beside}: {contents}, {index}")
    for line in (*verdict.problems, *verdict.unwritten):
        say(f"{'':8}{line}")
    return verdict
