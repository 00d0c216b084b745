"""`manage.py versions compare`: files in; tables and a picture out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from commands.evaluating import INCHES, Table, read_file, writing
from errors import Invalid
from services.evaluation.ranking import MODES
from services.evaluation.version_comparing import MAX_K, ComparisonRequest
from text.judgements import read_qrels, read_queries

Report = dict[str, Any]
AGREEMENT = {"overlap": "overlap@k", "jaccard": "Jaccard@k", "rbo": "RBO", "top1_agreement": "same first"}
SHOWN_CHARS, SHOWN_QUERIES = 60, 20


def read_request(
    name: str,
    against: str | None,
    *,
    queries: Path | None,
    qrels: Path | None,
    log_sample: int | None,
    modes: Sequence[str] | None,
    k: int,
) -> ComparisonRequest:
    """Raises Invalid, naming the file, where one cannot be read."""
    if not 1 <= k <= MAX_K:
        raise Invalid(f"k is from 1 to {MAX_K}, not {k}.", param="k")
    return ComparisonRequest(
        name=name,
        against=against,
        queries=read_file(queries, read_queries) if queries else None,
        qrels=read_file(qrels, read_qrels) if qrels else None,
        log_sample=log_sample,
        modes=modes or MODES[:1],
        k=k,
    )


def tables(report: Report) -> Iterator[Table]:
    """How the answers agree; each version's own figures; measures by judgements; the queries that changed most."""
    modes = report["modes"]
    shifts = {"rank_shift": "mean rank shift"}
    yield (
        ["mode", *AGREEMENT.values(), *shifts.values()],
        [(mode, *(_number(of[each]) for each in (*AGREEMENT, *shifts))) for mode, of in modes.items()],
    )
    yield (
        ["mode", "version", "p50 ms", "p95 ms", "empty answers", "MB"],
        [
            (
                mode,
                report[side]["name"],
                of[side]["p50_ms"],
                of[side]["p95_ms"],
                _number(of[side]["empty"]),
                _size(report[side]),
            )
            for mode, of in modes.items()
            for side in ("version", "against")
        ],
    )
    for mode, measures in (report["judged"] or {"modes": {}})["modes"].items():
        rows = [
            (
                name,
                *(f"{of[each]:.4f}" for each in ("version", "against")),
                f"{of['difference']:+.4f}",
                _number(of["p_value"]),
            )
            for name, of in measures.items()
        ]
        yield [mode, report["version"]["name"], report["against"]["name"], "difference", "p"], rows
    if report["changed"]:
        yield ["most changed", "RBO", report["version"]["name"], report["against"]["name"]], list(_changed(report))


def remarks(report: Report) -> Iterator[str]:
    compared = f"{report['k']} {report['by']}s of each answer"
    yield f"{report['queries']} queries, {compared}; RBO with p {report['p']}"
    for note in report["notes"]:
        yield f"note: {note}"


def plot(report: Report, path: Path) -> None:
    """Left how the answers agree, a group of bars for each mode; right the times of both versions."""
    from matplotlib.figure import Figure

    figure = Figure(INCHES, layout="constrained")
    left, right = figure.subplots(1, 2)
    modes = report["modes"]
    figure.suptitle(f"{report['queries']} queries, k = {report['k']}")
    left.set(ylim=(0, 1.08), title="Agreement, which is not quality")
    _bars(left, list(modes), {label: [of[each] for of in modes.values()] for each, label in AGREEMENT.items()}, "%.2f")
    right.set(title="95th percentile, ms")
    times = {report[side]["name"]: [of[side]["p95_ms"] for of in modes.values()] for side in ("version", "against")}
    _bars(right, list(modes), times, "%.1f")
    with writing(path):
        figure.savefig(path)


def _bars(axes: Any, groups: Sequence[str], series: dict[str, list[float]], form: str) -> None:
    width = 0.8 / len(series)
    patches = []
    for number, values in enumerate(series.values()):
        places = [group + width * (number - (len(series) - 1) / 2) for group in range(len(groups))]
        bars = axes.bar(places, values, 0.95 * width)
        axes.bar_label(bars, fmt=form, fontsize="x-small")
        patches.append(bars.patches[0])
    axes.set_xticks(range(len(groups)), list(groups))
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.08), "ncols": 2, "fontsize": "small"}
    for text in axes.legend(patches, [f" {name}" for name in series], **below).get_texts():
        text.set_parse_math(False)


def _changed(report: Report) -> Iterator[tuple[object, ...]]:
    for each in report["changed"][:SHOWN_QUERIES]:
        lists = (", ".join(chunk["chunk_id"] for chunk in each[side][:3]) for side in ("version", "against"))
        yield (each["query"][:SHOWN_CHARS], f"{each['rbo']:.3f}", *lists)


def _size(version: Report) -> str:
    return f"{version['bytes'] / 1e6:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
