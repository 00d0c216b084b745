"""List and cancel jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from commands.common import age, failed, group, opened, say, show_table
from domain import JobStatus, ListedStatus

TYPES = "ingest_docs, rebuild_index, delete_docs"

commands = group()


@commands.command()
def jobs(
    context: typer.Context,
    *,
    status: Annotated[ListedStatus | None, typer.Option(help="Only these.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help=f"Only these: {TYPES}.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to show.")] = 20,
) -> None:
    """Show the jobs, newest first."""
    from models import utc_now

    with opened(context) as runtime:
        jobs = runtime.ingest.jobs.page(limit=limit, status=status, type=kind)
    rows = [
        (
            job.job_id,
            job.type,
            f"{job.tenant_id}/{job.namespace}",
            job.outcome or job.status,
            f"{job.progress} %",
            job.attempts,
            age((utc_now() - job.created_at).total_seconds()),
            job.error or (f"{job.failed_documents} documents failed" if job.failed_documents else ""),
        )
        for job in jobs
    ]
    show_table(["id", "type", "namespace", "status", "progress", "tries", "age", "error"], rows)


@commands.command()
def cancel(context: typer.Context, job_id: str) -> None:
    """Cancel a job: a pending one at once, a running one at its next step."""
    with opened(context) as runtime:
        job = runtime.ingest.jobs.cancel(job_id)
    if job.status in (JobStatus.COMPLETED, JobStatus.FAILED):
        raise failed(f"job {job_id} has ended already: {job.status}.")
    say("cancelled" if job.status == JobStatus.CANCELLED else "the job is running: it will stop at its next step")


@commands.command()
def retry(
    context: typer.Context,
    job_id: Annotated[str | None, typer.Argument(help="The job; or give --all-failed.")] = None,
    *,
    all_failed: Annotated[
        bool, typer.Option("--all-failed", help="Every job that failed or completed with errors.")
    ] = False,
    kind: Annotated[str | None, typer.Option("--type", help=f"With --all-failed, only these: {TYPES}.")] = None,
) -> None:
    """Try again what failed of a job, or of all jobs, under new jobs. Nothing is sent again."""
    if all_failed == (job_id is not None) or (kind and not all_failed):
        raise typer.BadParameter("give either a JOB_ID or --all-failed, the latter with --type if you like")
    with opened(context) as runtime:
        if job_id is not None:
            say(f"retried as job {runtime.ingest.retrying.retry_job(job_id)}")
            return
        outcomes = list(runtime.ingest.retrying.retry_all(type=kind))
    for failed_id, outcome in outcomes:
        say(f"{failed_id}: {outcome}")
    say(f"{len(outcomes)} jobs looked at")
