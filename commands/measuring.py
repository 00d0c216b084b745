"""Measure search quality."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.common import Namespace, Tenant, group, opened, plain_errors, progress, say, show_table

commands = group()


@commands.command("eval")
def evaluate(
    context: typer.Context,
    *,
    tenant: Tenant,
    namespace: Namespace,
    queries: Annotated[Path, typer.Option(metavar="FILE", help="BEIR's JSON lines, or id, tab, text.")],
    qrels: Annotated[Path, typer.Option(metavar="FILE", help="BEIR's three columns, or TREC's four.")],
    mode: Annotated[
        list[str] | None, typer.Option(help="Search mode; may be repeated, to compare with the first.")
    ] = None,
    embedding_version: Annotated[str | None, typer.Option(help="Require this version.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the figures: .svg or .png.")] = None,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the rankings, as a TREC run.")] = None,
    against: Annotated[Path | None, typer.Option(metavar="FILE", help="Compare with a file of --save.")] = None,
) -> None:
    """Measure how well searches find the relevant documents: nDCG@10, Recall@10 and @100, MRR@10.

    A document is ranked by its best chunk.
    """
    from commands import evaluating

    place = tenant, namespace
    with plain_errors():
        evaluating.check_outputs(plot=plot, save=save)
        evaluation = evaluating.read_evaluation(
            place, queries=queries, qrels=qrels, modes=mode, embedding_version=embedding_version, against=against
        )
    with opened(context) as runtime, progress("searches", len(evaluation.queries) * len(evaluation.modes)) as show:
        report = runtime.evaluation.evaluating.evaluate(evaluation, on_progress=show)
    for titles, rows in evaluating.tables(report):
        show_table(titles, rows)
    for line in evaluating.remarks(report):
        say(line)
    with plain_errors():
        if save:
            evaluating.save(report, save)
        if plot:
            evaluating.plot(report, plot)
