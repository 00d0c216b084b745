"""Embedding versions, and the index versions of a namespace: made, compared, activated, rolled back, deleted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.common import Namespace, Tenant, group, opened, plain_errors, say, show_table, wait_for
from domain import JobStatus

if TYPE_CHECKING:
    from runtime.parts import Runtime
    from services.index.index_versions import NewVersion
    from services.index.version_info import VersionInfo

commands = group()
versions = typer.Typer(rich_markup_mode=None, add_completion=False, invoke_without_command=True)
commands.add_typer(versions, name="versions")

VersionName = Annotated[str, typer.Argument(metavar="NAME", help="The index version.")]
Expected = Annotated[str | None, typer.Option(help="Fail if another version serves.")]


@versions.callback()
def show_embedding_versions(context: typer.Context) -> None:
    """Show the embedding versions: their models, and how many namespaces and pending rebuilds use each.

    The commands below are about the index versions of one namespace.
    """
    if context.invoked_subcommand is not None:
        return
    with opened(context) as runtime:
        rows = [
            (
                each.row.name,
                "(external vectors)" if each.row.is_external else each.row.model,
                each.row.dimension,
                f"{each.row.created_at:%Y-%m-%d}",
                each.namespaces,
                each.jobs,
                "the installation's" if each.is_chosen else "",
            )
            for each in runtime.index.versions.list_usage()
        ]
    show_table(["version", "model", "dimension", "created", "namespaces", "rebuilds", ""], rows)


@versions.command("list")
def list_versions(context: typer.Context, *, tenant: Tenant, namespace: Namespace) -> None:
    """Show the index versions of a namespace."""
    with opened(context) as runtime:
        rows = [_row(each) for each in runtime.index.index_versions.list(tenant, namespace)]
    show_table(["name", "state", "lag", "vectors", "MB", "embedding version", "chunking", "problem"], rows)


@versions.command()
def create(  # noqa: PLR0913 - one for each option
    context: typer.Context,
    name: VersionName,
    *,
    tenant: Tenant,
    namespace: Namespace,
    embedding_version: Annotated[str | None, typer.Option(help="The embedding version to build.")] = None,
    query_prompt: Annotated[str | None, typer.Option(help="What the model reads before a query.")] = None,
    document_prompt: Annotated[str | None, typer.Option(help="What the model reads before a text.")] = None,
    chunking: Annotated[
        list[str] | None,
        typer.Option(
            help="Cut all documents so: chunk_tokens=128, chunk_strategy=sentences, chunk_overlap=40, "
            "enrich_context=true; may be repeated."
        ),
    ] = None,
    activate: Annotated[str, typer.Option(help="never, when_ready or if_passes.")] = "never",
    gate: Annotated[
        list[str] | None, typer.Option(help="min_overlap=0.8, max_ndcg_drop=0.01, max_p95_ratio=1.5; may be repeated.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the job has ended.")] = False,
) -> None:
    """Queue the building of another version, and print the job's id."""
    new = _new_version(name, embedding_version, (query_prompt, document_prompt), chunking, activate, gate)
    with opened(context) as runtime:
        job_id = runtime.index.index_versions.create(tenant, namespace, new)
        say(job_id)
        if wait:
            _require_success(runtime, job_id, "build")


@versions.command()
def compare(  # noqa: PLR0913 - one for each option
    context: typer.Context,
    name: VersionName,
    *,
    tenant: Tenant,
    namespace: Namespace,
    against: Annotated[str | None, typer.Option(help="Instead of the version that serves.")] = None,
    queries: Annotated[Path | None, typer.Option(metavar="FILE", help="As eval reads them.")] = None,
    log_sample: Annotated[int | None, typer.Option(help="Instead: so many logged questions.")] = None,
    qrels: Annotated[Path | None, typer.Option(metavar="FILE", help="Judgements, as eval reads them.")] = None,
    mode: Annotated[list[str] | None, typer.Option(help="Search mode; may be repeated.")] = None,
    k: Annotated[int, typer.Option(help="How much of each answer is compared.")] = 10,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the figures: .svg or .png.")] = None,
) -> None:
    """Ask two versions the same queries, and show how their answers differ. A worker does it, and this waits.

    GET /v1/jobs/{job_id} has the whole report.
    """
    from commands import comparing, evaluating

    with plain_errors():
        evaluating.check_outputs(plot=plot, save=None)
        request = comparing.read_request(
            name, against, queries=queries, qrels=qrels, log_sample=log_sample, modes=mode, k=k
        )
    with opened(context) as runtime:
        job_id = runtime.evaluation.comparing.accept(tenant, namespace, request)
        say(job_id)
        report = _require_success(runtime, job_id, "comparison")
    for titles, rows in comparing.tables(report):
        show_table(titles, rows)
    for line in comparing.remarks(report):
        say(line)
    if plot:
        with plain_errors():
            comparing.plot(report, plot)


@versions.command()
def activate(
    context: typer.Context, name: VersionName, *, tenant: Tenant, namespace: Namespace, expected_active: Expected = None
) -> None:
    """Let a version serve, if it is complete and passes its gates."""
    with opened(context) as runtime:
        runtime.index.index_versions.activate(tenant, namespace, name, expected_active=expected_active)
    say(f"{name} serves {tenant}/{namespace}")


@versions.command()
def rollback(context: typer.Context, *, tenant: Tenant, namespace: Namespace, expected_active: Expected = None) -> None:
    """Let the version serve that served before."""
    with opened(context) as runtime:
        version = runtime.index.index_versions.rollback(tenant, namespace, expected_active=expected_active)
    say(f"{version.name} serves {tenant}/{namespace} again")


@versions.command()
def delete(context: typer.Context, name: VersionName, *, tenant: Tenant, namespace: Namespace) -> None:
    """Drop a version that does not serve."""
    with opened(context) as runtime:
        runtime.index.index_versions.delete(tenant, namespace, name)
    say(f"{name} is deleted")


@commands.command()
def use_version(context: typer.Context, name: str) -> None:
    """Make an embedding version the installation's: the one of new namespaces, and of processes that name no model."""
    with opened(context) as runtime:
        runtime.index.versions.use(name)
    say(f"the installation's version is {name}; processes that name no model run it from their next start on")


@commands.command()
def free_version(context: typer.Context, name: str) -> None:
    """Delete an unused embedding version and its vectors, so that another model can have the name.

    Processes that used it refuse that name until they are restarted.
    """
    with opened(context) as runtime:
        vectors = runtime.index.versions.free(name)
    say(f"version {name} is free; {vectors} vectors were deleted")


def _new_version(
    name: str,
    embedding_version: str | None,
    prompts: tuple[str | None, str | None],
    chunking: list[str] | None,
    activate: str,
    gate: list[str] | None,
) -> NewVersion:
    from services.index.chunking import read_chunking
    from services.index.gates import read_gates
    from services.index.index_versions import NewVersion
    from services.index.version_names import NewPrompts

    with plain_errors():
        return NewVersion(
            name=name,
            embedding_version=embedding_version,
            prompts=None if prompts == (None, None) else NewPrompts(*prompts),
            chunking=read_chunking(chunking) if chunking else None,
            activate=activate,
            gates=read_gates(gate or ()),
        )


def _row(version: VersionInfo) -> tuple[object, ...]:
    state = version.state if version.progress is None else f"{version.state} {version.progress} %"
    size = f"{version.bytes / 1e6:.1f}"
    chunking = " ".join(f"{name}={value}" for name, value in (version.chunking or {}).items())
    names = version.embedding_version, chunking or "as sent", version.problem or ""
    return version.name, state, version.lag, version.vectors, size, *names


def _require_success(runtime: Runtime, job_id: str, label: str) -> dict[str, object]:
    """Returns the job's result."""
    job = wait_for(runtime, job_id, label=label)
    if job.status != JobStatus.COMPLETED or job.result is None:
        say(f"{job.status}" + (f": {job.error}" if job.error else ""))
        raise typer.Exit(1)
    return job.result
