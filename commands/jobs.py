"""List and cancel jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from commands.common import age, failed, group, opened, say, show_table
from domain import JobStatus

commands = group()


@commands.command()
def jobs(
    context: typer.Context,
    *,
    status: Annotated[JobStatus | None, typer.Option(help="Only these.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Only these: ingest_docs, rebuild_index.")] = None,
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
            job.status,
            f"{job.progress} %",
            job.attempts,
            age((utc_now() - job.created_at).total_seconds()),
            job.error or "",
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
