"""Look after indexes: what there is, rebuild, verify."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from commands.common import Namespace, Tenant, failed, group, opened, progress, say, show_table
from job_queue import FINISHED
from models import Job, JobStatus
from runtime.parts import Runtime
from services.index.verifying import Verdict
from services.operations.diagnosing import NO_WORKER

POLL_SECONDS = 0.5

commands = group()


@commands.command()
def stats(
    context: typer.Context,
    *,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Only of this name.")] = None,
) -> None:
    """Show what is indexed, and how many jobs there are."""
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
    reembed: Annotated[bool, typer.Option("--reembed", help="Make the vectors anew, with this model.")] = False,
    new_embedding_version: Annotated[str | None, typer.Option(help="With --reembed: its new name.")] = None,
    wait: Annotated[bool, typer.Option(help="Stay until the job has ended.")] = False,
) -> None:
    """Queue a rebuild of a namespace's index for a worker, and print the job's id."""
    with opened(context) as runtime:
        job_id = runtime.ingest.jobs.rebuild(tenant, namespace, reembed=reembed, new_version=new_embedding_version)
        say(job_id)
        if wait:
            job = _wait(runtime, job_id)
            say(f"{job.status}" + (f": {job.error}" if job.error else ""))
            if job.status != JobStatus.COMPLETED:
                raise typer.Exit(1)


@commands.command()
def versions(context: typer.Context) -> None:
    """Show the embedding versions: what each stands for, and how many namespaces and waiting rebuilds use it."""
    with opened(context) as runtime:
        rows = [
            (
                each.row.name,
                "(vectors from outside)" if each.row.is_external else each.row.model,
                each.row.dimension,
                f"{each.row.created_at:%Y-%m-%d}",
                each.namespaces,
                each.jobs,
            )
            for each in runtime.index.versions.list_usage()
        ]
    show_table(["version", "model", "dimension", "made", "namespaces", "rebuilds"], rows)


@commands.command()
def free_version(context: typer.Context, name: str) -> None:
    """Forget an embedding version that nothing uses, with its vectors, so that another model can have the name.

    A process that used it answers nothing under that name until it is started again.
    """
    with opened(context) as runtime:
        vectors = runtime.index.versions.free(name)
    say(f"version {name} is free; {vectors} vectors were deleted")


@commands.command()
def verify(context: typer.Context) -> None:
    """Compare database, checkpoint and what came since, for every namespace. Changes nothing."""
    with opened(context) as runtime:
        were_clean = [_show_verdict(verdict) for verdict in runtime.index.verifying.verify()]
    if not all(were_clean):
        raise failed(f"{were_clean.count(False)} of {len(were_clean)} namespaces have problems.")
    say(f"{len(were_clean)} namespaces clean")


def _wait(runtime: Runtime, job_id: str) -> Job:
    """The job once it has ended. Whoever stops waiting does not stop the job."""
    has_complained = False
    with progress("rebuild", 100) as show:
        while True:
            job, _, _ = runtime.queue.get(job_id)
            show(job.progress)
            if job.status in FINISHED:
                return job
            if (
                job.status == JobStatus.PENDING
                and not has_complained
                and not runtime.operations.diagnosing.has_worker()
            ):
                typer.echo(NO_WORKER, err=True)
                has_complained = True
            time.sleep(POLL_SECONDS)


def _show_verdict(verdict: Verdict) -> bool:
    """Returns whether it is clean."""
    sign = "PROBLEM" if verdict.problems else "ok"
    held = f"{verdict.live_docs} docs, {verdict.live_chunks} chunks"
    index = f"{verdict.checkpoint_chunks} in the checkpoint, {verdict.tail_changes} changes since"
    say(f"{sign:8}{verdict.tenant_id}/{verdict.namespace}: {held}, {index}")
    for problem in verdict.problems:
        say(f"{'':8}{problem}")
    return not verdict.problems
